#pragma once

#include "aio/address.hpp"
#include "aio/socket_in_use.hpp"
#include "base/unique_fd.hpp"

namespace pyw::aio {

/// The descriptor of a stream transport and what is known of it. It is that of a Python socket, or one that was just accepted or connected: that has no Python
/// object until somebody asks for one, which most connections never do. Names are kept as the kernel gave them, for they may be asked for when the
/// connection is gone.
/// GIL: needed where it is a parameter.
class StreamSocket {
 public:
  StreamSocket(Ref python, int fd) : python_(std::move(python)), fd_(fd) { look(false); }
  explicit StreamSocket(UniqueFd connected) : accepted_(std::move(connected)), fd_(accepted_.get()) { look(false); }
  StreamSocket(UniqueFd accepted, const SockAddress& peer) : accepted_(std::move(accepted)), fd_(accepted_.get()), peer_(peer) { look(true); }

  /// No Python object has its descriptor.
  bool is_private() const { return !python_; }
  /// -1: closed.
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  /// From now on it closes with us, whoever closes it. False: an exception is pending.
  bool use(const Gil& gil, State& state) { return is_private() || use_.begin(gil, state, python_.get()); }
  /// The socket.socket, made if there is none yet. Empty: an exception is pending; or, with none pending, it is closed.
  Ref python(const Gil& gil, State& state);
  /// What get_extra_info() says to "socket", "sockname" and "peername"; put into `known`. False: an exception is pending.
  bool describe(const Gil& gil, State& state, PyObject* name, PyObject* known);
  /// What Python's close() raised is printed.
  void close(const Gil& gil, State& state);
  int traverse(visitproc visit, void* arg) const { return python_.traverse(visit, arg); }

 private:
  void look(bool has_peer);
  Ref make(State& state, PyObject* keywords) const;

  Ref python_;
  SocketInUse use_;
  UniqueFd accepted_;
  int fd_;
  SockAddress own_;
  SockAddress peer_;
};

}  // namespace pyw::aio
