#include "aio/sock_call.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "aio/slots.hpp"
#include "aio/sock_waits.hpp"

namespace pyw::aio {
namespace {

using Kind = SockCallObject::Kind;
using Stage = SockCallObject::Stage;

struct Facts {
  const char* name;
  const char* method;  ///< of Python's socket; null: the system call is made here
  int event;
  const char* arguments[3];
  Py_ssize_t needed, most;
};

constexpr Facts kFacts[] = {
    {"sock_recv", nullptr, Watcher::kReadable, {"sock", "n", nullptr}, 2, 2},
    {"sock_recv_into", nullptr, Watcher::kReadable, {"sock", "buf", nullptr}, 2, 2},
    {"sock_recvfrom", "recvfrom", Watcher::kReadable, {"sock", "bufsize", nullptr}, 2, 2},
    {"sock_recvfrom_into", "recvfrom_into", Watcher::kReadable, {"sock", "buf", "nbytes"}, 2, 3},
    {"sock_sendall", nullptr, Watcher::kWritable, {"sock", "data", nullptr}, 2, 2},
    {"sock_sendto", "sendto", Watcher::kWritable, {"sock", "data", "address"}, 3, 3},
    {"sock_accept", "accept", Watcher::kReadable, {"sock", nullptr, nullptr}, 1, 1},
    {"sock_connect", "connect", Watcher::kWritable, {"sock", "address", nullptr}, 2, 2},
    {"_sock_writable", nullptr, Watcher::kWritable, {"sock", nullptr, nullptr}, 1, 1},
};

const Facts& facts(Kind kind) { return kFacts[static_cast<std::size_t>(kind)]; }

SockCallObject* as_call(PyObject* self) { return reinterpret_cast<SockCallObject*>(self); }
PyObject* as_object(SockCallObject* call) { return reinterpret_cast<PyObject*>(call); }

enum class Tried { done, blocked, later, failed };

/// After so much others have their turn, if the peer takes it as fast as it comes.
constexpr Py_ssize_t kShare = 1 << 20;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

bool blocked_in_python() {
  if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) && !PyErr_ExceptionMatches(PyExc_InterruptedError)) return false;
  PyErr_Clear();
  return true;
}

// The system calls ------------------------------------------------------------------------------------------------------
// MSG_DONTWAIT: outside of debug mode nobody has looked whether the socket is non-blocking.

ssize_t receive(int fd, void* room, std::size_t size) {
  ssize_t count;
  do count = ::recv(fd, room, size, MSG_DONTWAIT);
  while (count < 0 && errno == EINTR);
  return count;
}

Tried failed_or_blocked() {
  if (would_block(errno)) return Tried::blocked;
  PyErr_SetFromErrno(PyExc_OSError);
  return Tried::failed;
}

Tried try_recv(SockCallObject* call, int fd, PyObject*& result) {
  Loop& loop = call->loop->loop;
  const auto size = static_cast<std::size_t>(call->size);
  if (size <= Loop::kScratch) {
    const ssize_t count = size == 0 ? 0 : receive(fd, loop.scratch(), size);
    if (count < 0) return failed_or_blocked();
    result = PyBytes_FromStringAndSize(loop.scratch(), count);
    return result ? Tried::done : Tried::failed;
  }
  result = PyBytes_FromStringAndSize(nullptr, call->size);
  if (!result) return Tried::failed;
  const ssize_t count = receive(fd, PyBytes_AS_STRING(result), size);
  if (count < 0) {
    const int error = errno;
    Py_CLEAR(result);
    errno = error;
    return failed_or_blocked();
  }
  return _PyBytes_Resize(&result, count) == 0 ? Tried::done : Tried::failed;
}

Tried try_recv_into(SockCallObject* call, int fd, PyObject*& result) {
  Py_buffer room;
  if (PyObject_GetBuffer(call->args[0], &room, PyBUF_WRITABLE) != 0) {
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "recv_into() argument 1 must be read-write bytes-like object, not %s", Py_TYPE(call->args[0])->tp_name);
    return Tried::failed;
  }
  const ssize_t count = room.len == 0 ? 0 : receive(fd, room.buf, static_cast<std::size_t>(room.len));
  const int error = errno;
  PyBuffer_Release(&room);
  errno = error;
  if (count < 0) return failed_or_blocked();
  result = PyLong_FromSsize_t(count);
  return result ? Tried::done : Tried::failed;
}

/// Until everything is sent, the socket takes no more, or it was much.
Tried try_sendall(SockCallObject* call, int fd, PyObject*& result) {
  Py_buffer& data = call->data;
  if (!data.obj && PyObject_GetBuffer(call->args[0], &data, PyBUF_SIMPLE) != 0) return Tried::failed;
  Py_ssize_t share = kShare;
  do {
    if (share == 0) return Tried::later;
    const auto size = static_cast<std::size_t>(std::min(share, data.len - call->size));
    const ssize_t count = ::send(fd, static_cast<const char*>(data.buf) + call->size, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed_or_blocked();
    call->size += count;
    share -= count;
  } while (call->size < data.len);
  Py_INCREF(Py_None);
  result = Py_None;
  return Tried::done;
}

/// Waits first: whoever asks has been told EAGAIN.
Tried try_writable(SockCallObject* call, PyObject*& result) {
  if (call->size++ == 0) return Tried::blocked;
  Py_INCREF(Py_None);
  result = Py_None;
  return Tried::done;
}

/// How a connect() ended that was begun.
Tried try_connected(SockCallObject* call, int fd, PyObject*& result) {
  pollfd ready{fd, POLLOUT, 0};
  if (::poll(&ready, 1, 0) <= 0) return Tried::blocked;  // the event was an older one, or a signal was there first
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error == 0) {
    Py_INCREF(Py_None);
    result = Py_None;
    return Tried::done;
  }
  const Ref text = Ref::steal(PyUnicode_FromFormat("Connect call failed %S", call->args[0]));
  const Ref raised = text ? Ref::steal(PyObject_CallFunction(PyExc_OSError, "iO", error, text.get())) : Ref();
  if (raised) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.get())), raised.get());
  return Tried::failed;
}

/// The descriptor as of now: the socket may have been closed since, and the number be somebody else's. -2: an exception is pending.
int descriptor(SockCallObject* call) {
  const Ref number = Ref::steal(PyObject_CallMethodNoArgs(call->sock, loop_of(reinterpret_cast<PyObject*>(call->loop)).state().s_fileno.get()));
  const long fd = number ? PyLong_AsLong(number.get()) : -2;
  return PyErr_Occurred() ? -2 : static_cast<int>(fd);
}

/// Within one machine the other side has answered by now, and nothing need be waited for.
Tried begin_connect(SockCallObject* call, PyObject*& result) {
  call->size = 1;
  const int fd = descriptor(call);
  return fd == -2 ? Tried::failed : try_connected(call, fd, result);
}

Tried try_method(SockCallObject* call, PyObject*& result) {
  const Facts& known = facts(call->kind);
  const Ref method = Ref::steal(PyObject_GetAttrString(call->sock, known.method));
  if (!method) return Tried::failed;
  std::size_t given = 0;
  while (given < 2 && call->args[given]) ++given;
  Ref made = Ref::steal(PyObject_Vectorcall(method.get(), call->args, given, nullptr));
  if (!made) {
    if (!blocked_in_python()) return Tried::failed;
    return call->kind == Kind::connect ? begin_connect(call, result) : Tried::blocked;
  }
  if (call->kind == Kind::accept &&
      !Ref::steal(PyObject_CallMethod(PyTuple_GET_ITEM(made.get(), 0), "setblocking", "O", Py_False)))
    return Tried::failed;
  result = made.release();
  return Tried::done;
}

Tried try_it(SockCallObject* call, PyObject*& result) {
  const bool begun = call->kind == Kind::connect && call->size == 1;
  if (facts(call->kind).method && !begun) return try_method(call, result);
  const int fd = descriptor(call);
  if (fd == -2) return Tried::failed;
  if (begun) return try_connected(call, fd, result);
  switch (call->kind) {
    case Kind::recv:
      return try_recv(call, fd, result);
    case Kind::recv_into:
      return try_recv_into(call, fd, result);
    case Kind::writable:
      return try_writable(call, result);
    default:
      return try_sendall(call, fd, result);
  }
}

// A coroutine -----------------------------------------------------------------------------------------------------------

void leave(SockCallObject* call) {
  if (call->waits_for == 0) return;
  call->waits_for = 0;
  if (SockWaits* waits = call->loop->loop.sock_waits()) waits->leave(call->fd, call);
}

void finish(SockCallObject* call) {
  // Whoever holds it holds it until the end of this.
  leave(call);
  call->stage = Stage::over;
  if (call->data.obj) PyBuffer_Release(&call->data);
  Py_CLEAR(call->future);
  Py_CLEAR(call->args[0]);
  Py_CLEAR(call->args[1]);
  Py_CLEAR(call->sock);
  Py_CLEAR(call->loop);
}

/// What asyncio checks before the first try. False: an exception is pending.
bool check(SockCallObject* call) {
  if (!call->loop->loop.debug()) [[likely]] return true;
  const Ref timeout = Ref::steal(PyObject_CallMethod(call->sock, "gettimeout", nullptr));
  if (!timeout) return false;
  if (PyFloat_Check(timeout.get()) && PyFloat_AS_DOUBLE(timeout.get()) == 0.0) return true;
  PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
  return false;
}

/// Once it has to wait; most are over before.
void track(SockCallObject* call) {
  if (!PyObject_GC_IsTracked(as_object(call))) PyObject_GC_Track(as_object(call));
}

/// Null: an exception is pending. Borrowed: the future that the task is to wait for.
PyObject* wait(const Gil& gil, SockCallObject* call) {
  Loop& loop = call->loop->loop;
  const int fd = descriptor(call);
  if (fd == -2 || !loop.check_no_transport(gil, fd)) return nullptr;
  SockWaits* waits = loop.make_sock_waits(gil);
  if (!waits) return nullptr;
  State& state = loop.state();
  PyObject* with_loop = loop.object();
  const Ref future = Ref::steal(PyObject_Vectorcall(state.future.get(), &with_loop, 0, state.kw_loop.get()));
  if (!future || PyObject_SetAttr(future.get(), state.s_future_blocking.get(), Py_True) != 0) return nullptr;
  call->waits_for = facts(call->kind).event;
  call->fd = fd;
  if (!waits->wait(gil, call->sock, fd, call->waits_for, call)) {
    call->waits_for = 0;
    return nullptr;
  }
  Py_INCREF(future.get());
  call->future = future.get();
  return call->future;
}

/// Tried::done: it has returned `result`; Tried::blocked: `result` is a future to wait for, or None for the next turn, as sleep(0) yields it.
Tried step(SockCallObject* call, PyObject*& result) {
  const GilHeld gil;
  result = nullptr;
  if (call->stage == Stage::over) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return Tried::failed;
  }
  Tried tried = Tried::failed;
  const bool first = call->stage == Stage::fresh;
  call->stage = Stage::running;
  leave(call);
  Py_CLEAR(call->future);
  if (!first || check(call)) tried = try_it(call, result);
  if (tried == Tried::blocked || tried == Tried::later) {
    result = tried == Tried::later ? Py_None : wait(gil, call);
    if (result) {
      track(call);
      Py_INCREF(result);
      return Tried::blocked;
    }
    tried = Tried::failed;
  }
  finish(call);
  return tried;
}

bool check_sent(SockCallObject* call, PyObject* value) {
  if (call->stage != Stage::fresh || value == Py_None) return true;
  PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
  return false;
}

void set_stop_iteration(PyObject* value) {
  if (value == Py_None) {
    PyErr_SetNone(PyExc_StopIteration);
  } else if (!PyTuple_Check(value)) {
    PyErr_SetObject(PyExc_StopIteration, value);
  } else {  // which PyErr_SetObject would take for the arguments
    const Ref raised = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value));
    if (raised) PyErr_SetObject(PyExc_StopIteration, raised.get());
  }
}

PyObject* next(PyObject* self) {
  PyObject* result;
  const Tried tried = step(as_call(self), result);
  if (tried == Tried::blocked) return result;
  if (tried == Tried::done) {
    if (result != Py_None) set_stop_iteration(result);  // for None no exception will do
    Py_DECREF(result);
  }
  return nullptr;
}

PyObject* send(PyObject* self, PyObject* value) {
  if (!check_sent(as_call(self), value)) return nullptr;
  PyObject* result = next(self);
  if (!result && !PyErr_Occurred()) PyErr_SetNone(PyExc_StopIteration);
  return result;
}

#if PY_VERSION_HEX >= 0x030A0000
PySendResult am_send(PyObject* self, PyObject* value, PyObject** result) {
  if (!check_sent(as_call(self), value)) {
    *result = nullptr;
    return PYGEN_ERROR;
  }
  const Tried tried = step(as_call(self), *result);
  return tried == Tried::done ? PYGEN_RETURN : tried == Tried::blocked ? PYGEN_NEXT : PYGEN_ERROR;
}
#endif

PyObject* throw_into(PyObject* self, PyObject* args) {
  const GilHeld gil;
  PyObject *type, *value = nullptr, *traceback = nullptr;
  if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) return nullptr;
  SockCallObject* call = as_call(self);
  if (call->stage == Stage::over) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return nullptr;
  }
  finish(call);
  if (value == Py_None) value = nullptr;
  if (traceback == Py_None) traceback = nullptr;
  if (PyExceptionInstance_Check(type)) {
    if (traceback && PyException_SetTraceback(type, traceback) != 0) return nullptr;
    // With its traceback, if it has one: it has been raised before.
    Py_INCREF(type);
    compat::restore_raised(type);
    return nullptr;
  }
  if (!PyExceptionClass_Check(type)) {
    PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException, not %s", Py_TYPE(type)->tp_name);
    return nullptr;
  }
  Py_INCREF(type);
  Py_XINCREF(value);
  Py_XINCREF(traceback);
  PyErr_Restore(type, value, traceback);
  return nullptr;
}

PyObject* close(PyObject* self, PyObject*) {
  finish(as_call(self));
  Py_RETURN_NONE;
}

PyObject* itself(PyObject* self) {
  Py_INCREF(self);
  return self;
}

PyObject* get_name(PyObject* self, void*) { return PyUnicode_FromString(facts(as_call(self)->kind).name); }
PyObject* get_running(PyObject*, void*) { Py_RETURN_FALSE; }
PyObject* get_frame(PyObject*, void*) { Py_RETURN_NONE; }
PyObject* get_await(PyObject* self, void*) {
  PyObject* future = as_call(self)->future ? as_call(self)->future : Py_None;
  Py_INCREF(future);
  return future;
}

PyObject* repr(PyObject* self) { return PyUnicode_FromFormat("<coroutine object %s at %p>", facts(as_call(self)->kind).name, static_cast<void*>(self)); }

int traverse(PyObject* self, visitproc visit, void* arg) {
  SockCallObject* call = as_call(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<PyObject*>(call->loop));
  Py_VISIT(call->sock);
  Py_VISIT(call->args[0]);
  Py_VISIT(call->args[1]);
  Py_VISIT(call->data.obj);
  Py_VISIT(call->future);
  return 0;
}

int clear(PyObject* self) {
  if (as_call(self)->loop) finish(as_call(self));
  return 0;
}

void dealloc(PyObject* self) {
  SockCallObject* call = as_call(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (call->stage == Stage::fresh) {
    Ref pending = Ref::steal(compat::take_raised());
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited", facts(call->kind).name) != 0) PyErr_WriteUnraisable(nullptr);
    if (pending) compat::restore_raised(pending.release());
  }
  if (call->loop) finish(call);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

PyMethodDef methods[] = {{"send", send, METH_O, "send($self, value, /)\n--\n\nAs a coroutine's."},
                         {"throw", throw_into, METH_VARARGS, "throw(type, value=None, traceback=None, /)\n--\n\nAs a coroutine's."},
                         {"close", close, METH_NOARGS, "close($self, /)\n--\n\nAs a coroutine's."},
                         {nullptr, nullptr, 0, nullptr}};

// What shows coroutines looks at.
PyGetSetDef attributes[] = {{"__name__", get_name, nullptr, nullptr, nullptr},   {"__qualname__", get_name, nullptr, nullptr, nullptr},
                            {"cr_running", get_running, nullptr, nullptr, nullptr}, {"cr_frame", get_frame, nullptr, nullptr, nullptr},
                            {"cr_await", get_await, nullptr, nullptr, nullptr},  {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, slot(dealloc)},
                       {Py_tp_traverse, slot(traverse)},
                       {Py_tp_clear, slot(clear)},
                       {Py_tp_repr, slot(repr)},
                       {Py_tp_iter, slot(itself)},
                       {Py_tp_iternext, slot(next)},
                       {Py_am_await, slot(itself)},
#if PY_VERSION_HEX >= 0x030A0000
                       {Py_am_send, slot(am_send)},
#endif
                       {Py_tp_methods, methods},
                       {Py_tp_getset, attributes},
                       {0, nullptr}};

constexpr unsigned long kNoNew =
#if PY_VERSION_HEX >= 0x030A0000
    Py_TPFLAGS_DISALLOW_INSTANTIATION;
#else
    0;
#endif

PyType_Spec spec{"_erlang_loop.SockCall", sizeof(SockCallObject), 0,
                 static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | compat::kImmutableType | kNoNew), slots};

// Making one ------------------------------------------------------------------------------------------------------------

/// Positional and keyword arguments in their places. False: TypeError is pending.
bool arrange(const Facts& known, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PyObject** places) {
  bool fits = nargs <= known.most;
  for (Py_ssize_t i = 0; fits && i < nargs; ++i) places[i] = args[i];
  for (Py_ssize_t i = 0; fits && kwnames && i < PyTuple_GET_SIZE(kwnames); ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, i);
    Py_ssize_t at = 0;
    while (at < known.most && PyUnicode_CompareWithASCIIString(name, known.arguments[at]) != 0) ++at;
    // asyncio's documentation calls it `nbytes`, its code `n`.
    if (at == known.most && known.most == 2 && PyUnicode_CompareWithASCIIString(name, "nbytes") == 0) at = 1;
    fits = at < known.most && !places[at];
    if (fits) places[at] = args[nargs + i];
  }
  for (Py_ssize_t i = 0; fits && i < known.needed; ++i) fits = places[i] != nullptr;
  if (!fits)
    PyErr_Format(PyExc_TypeError, "%s() takes a socket and %zd more argument%s", known.name, known.most - 1, known.most == 2 ? "" : "s");
  return fits;
}

/// As asyncio does it: for SSL sockets, which it refuses, and objects that are like sockets.
PyObject* leave_to_asyncio(State& state, PyObject* loop, Kind kind, PyObject** places) {
  const Ref method = Ref::steal(PyObject_GetAttrString(state.selector_loop.get(), facts(kind).name));
  if (!method) return nullptr;
  PyObject* args[4] = {loop, places[0], places[1], places[2]};
  std::size_t given = 2;
  while (given < 4 && args[given]) ++given;
  return PyObject_Vectorcall(method.get(), args, given, nullptr);
}

PyObject* make(PyObject* loop, Kind kind, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* places[3] = {};
  if (!arrange(facts(kind), args, nargs, kwnames, places)) return nullptr;
  State& state = loop_of(loop).state();
  if (reinterpret_cast<PyObject*>(Py_TYPE(places[0])) != state.socket.get()) [[unlikely]] return leave_to_asyncio(state, loop, kind, places);
  Py_ssize_t size = 0;
  if (kind == Kind::recv) {
    size = PyNumber_AsSsize_t(places[1], PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred()) return nullptr;
    if (size < 0) {
      PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
      return nullptr;
    }
  }
  auto* call = PyObject_GC_New(SockCallObject, reinterpret_cast<PyTypeObject*>(state.sock_call.get()));
  if (!call) return nullptr;
  std::memset(reinterpret_cast<char*>(call) + sizeof(PyObject), 0, sizeof(SockCallObject) - sizeof(PyObject));
  for (int i = 0; i < 2; ++i) Py_XINCREF(call->args[i] = places[i + 1]);
  Py_INCREF(call->sock = places[0]);
  Py_INCREF(loop);
  call->loop = reinterpret_cast<LoopObject*>(loop);
  call->kind = kind;
  call->size = size;
  return as_object(call);
}

}  // namespace

bool has_lost_its_socket(const Gil&, SockCallObject* call) {
  const int fd = descriptor(call);
  if (fd == -2) PyErr_Clear();  // trying again will say it
  return fd != call->fd;
}

bool wake(const Gil&, SockCallObject* call) {
  call->waits_for = 0;
  if (!call->future) return true;
  State& state = call->loop->loop.state();
  const Ref future = Ref::steal(std::exchange(call->future, nullptr));
  if (Ref::steal(PyObject_CallMethodOneArg(future.get(), state.s_set_result.get(), Py_None))) return true;
  if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) return false;
  Ref exception = Ref::steal(compat::take_raised());
  const Ref over = Ref::steal(PyObject_CallMethodNoArgs(future.get(), state.s_done.get()));
  if (over.get() == Py_True) return true;  // its task was cancelled, and will say so in its turn
  if (!over) PyErr_Clear();
  compat::restore_raised(exception.release());
  PyErr_WriteUnraisable(future.get());
  return true;
}

bool make_sock_call_type(const Gil&, State& state, PyObject* module) {
  state.sock_call = Ref::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return static_cast<bool>(state.sock_call);
}

PyObject* sock_recv(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) { return make(loop, Kind::recv, args, nargs, kwnames); }
PyObject* sock_recv_into(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return make(loop, Kind::recv_into, args, nargs, kwnames);
}
PyObject* sock_recvfrom(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return make(loop, Kind::recvfrom, args, nargs, kwnames);
}
PyObject* sock_recvfrom_into(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return make(loop, Kind::recvfrom_into, args, nargs, kwnames);
}
PyObject* sock_sendall(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return make(loop, Kind::sendall, args, nargs, kwnames);
}
PyObject* sock_sendto(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return make(loop, Kind::sendto, args, nargs, kwnames);
}
PyObject* sock_accept(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return make(loop, Kind::accept, args, nargs, kwnames);
}
PyObject* sock_connect_to(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return make(loop, Kind::connect, args, nargs, kwnames);
}
PyObject* sock_writable(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return make(loop, Kind::writable, args, nargs, kwnames);
}

}  // namespace pyw::aio
