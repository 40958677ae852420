#include "aio/stream_socket.hpp"

#include <netinet/tcp.h>

#include <initializer_list>

namespace pyw::aio {

/// Small writes are not to wait for company on the way, as in asyncio.
void StreamSocket::look(bool has_peer) {
  const auto ask = [this](int (*what)(int, sockaddr*, socklen_t*), SockAddress& address) {
    socklen_t size = sizeof(sockaddr_un);
    address.size = what(fd_, &address.any, &size) == 0 ? size : 0;
  };
  ask(::getsockname, own_);
  if (!has_peer) ask(::getpeername, peer_);
  const int family = own_.any.sa_family, on = 1;
  if (own_.size > 0 && (family == AF_INET || family == AF_INET6)) ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// A socket.socket of our kind. Empty: an exception is pending.
Ref StreamSocket::make(State& state, PyObject* keywords) const {
  const int family = own_.size > 0 ? own_.any.sa_family : AF_UNIX;
  const Ref arguments = Ref::steal(Py_BuildValue("(iii)", family, SOCK_STREAM, family == AF_INET || family == AF_INET6 ? IPPROTO_TCP : 0));
  return Ref::steal(arguments ? PyObject_Call(state.socket.get(), arguments.get(), keywords) : nullptr);
}

Ref StreamSocket::python(const Gil& gil, State& state) {
  if (!python_ && accepted_) {
    const Ref number = Ref::steal(Py_BuildValue("{s:i}", "fileno", accepted_.get()));
    Ref made = number ? make(state, number.get()) : Ref();
    if (!made) return {};
    (void)accepted_.release();  // the object's from now on
    python_ = std::move(made);
    // It is non-blocking; Python's object must know.
    if (!Ref::steal(PyObject_CallMethod(python_.get(), "settimeout", "i", 0))) return {};
  }
  return Ref::share(gil, python_.get());
}

bool StreamSocket::describe(const Gil& gil, State& state, PyObject* name, PyObject* known) {
  const auto is = [name](const char* text) { return PyUnicode_CompareWithASCIIString(name, text) == 0; };
  if (!PyUnicode_Check(name)) return true;
  Ref value;
  if (is("sockname")) {
    value = own_.size > 0 ? to_python(gil, own_) : Ref::share(gil, Py_None);
  } else if (is("peername")) {
    value = peer_.size > 0 ? to_python(gil, peer_) : Ref::share(gil, Py_None);
  } else if (is("socket")) {
    Ref socket = python(gil, state);
    if (!socket && !PyErr_Occurred()) {  // whoever asks so late gets one that is closed as ours is
      socket = make(state, nullptr);
      if (socket && !Ref::steal(PyObject_CallMethodNoArgs(socket.get(), state.s_close.get()))) return false;
    }
    if (!socket) return false;
    value = Ref::steal(PyObject_CallOneArg(state.transport_socket.get(), socket.get()));
  } else {
    return true;
  }
  return value && PyDict_SetItem(known, name, value.get()) == 0;
}

void StreamSocket::close(const Gil& gil, State& state) {
  fd_ = -1;
  accepted_.reset();
  const Ref python = std::move(python_);
  if (!python) return;
  if (!Ref::steal(PyObject_CallMethodNoArgs(python.get(), state.s_close.get()))) PyErr_WriteUnraisable(python.get());
  use_.end(gil, python.get());
}

}  // namespace pyw::aio
