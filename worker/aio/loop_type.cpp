// The Python type `_erlang_loop.Loop`: the hot half of the class erlang.ErlangEventLoop.

#include <new>

#include "aio/by_name.hpp"
#include "aio/fd_watch.hpp"
#include "aio/module.hpp"
#include "aio/resolver.hpp"
#include "aio/slots.hpp"
#include "aio/sock_call.hpp"

namespace pyw::aio {
namespace {

LoopObject* as_object(PyObject* self) { return reinterpret_cast<LoopObject*>(self); }

bool check_open(const Loop& loop) {
  if (loop.takes_callbacks()) [[likely]] return true;
  PyErr_SetString(PyExc_RuntimeError, loop.closed() ? "Event loop is closed" : "the event loop was not initialised");
  return false;
}

/// The same for what needs the reactor.
bool check_driven(const Loop& loop) {
  if (loop.is_open()) return true;
  if (check_open(loop)) PyErr_SetString(PyExc_RuntimeError, "nobody drives this event loop yet");
  return false;
}

/// What asyncio's debug mode looks at before a callback is queued.
bool check_in_debug(PyObject* self, PyObject* callback, const char* method, bool on_own_thread) {
  if (on_own_thread && !Ref::steal(PyObject_CallMethod(self, "_check_thread", nullptr))) return false;
  return static_cast<bool>(Ref::steal(PyObject_CallMethod(self, "_check_callback", "Os", callback, method)));
}

/// `context` of the call, and that there is no other keyword. False: TypeError is pending.
bool take_context(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PyObject*& context) {
  context = nullptr;
  if (!kwnames) return true;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, i);
    if (PyUnicode_CompareWithASCIIString(name, "context") != 0) {
      PyErr_Format(PyExc_TypeError, "unexpected keyword argument %R", name);
      return false;
    }
    context = args[nargs + i];
  }
  if (context == Py_None) context = nullptr;
  if (!context || PyContext_CheckExact(context)) return true;
  PyErr_Format(PyExc_TypeError, "context must be a contextvars.Context, not %s", Py_TYPE(context)->tp_name);
  return false;
}

/// New reference to a handle for callback args[0] and its arguments args[1..]; null: an exception is pending.
HandleObject* handle_for(const Gil& gil, PyObject* self, bool timer, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
                         const char* method, bool on_own_thread = true) {
  Loop& loop = loop_of(self);
  if (!check_open(loop)) return nullptr;
  if (nargs < 1) {
    PyErr_Format(PyExc_TypeError, "%s() needs a callback", method);
    return nullptr;
  }
  PyObject* context;
  if (!take_context(args, nargs, kwnames, context)) return nullptr;
  if (!loop.debug()) [[likely]]
    return new_handle(gil, loop.state(), as_object(self), timer, args[0], args + 1, static_cast<std::size_t>(nargs - 1), context);
  if (!check_in_debug(self, args[0], method, on_own_thread)) return nullptr;
  HandleObject* handle = new_handle(gil, loop.state(), as_object(self), timer, args[0], args + 1, static_cast<std::size_t>(nargs - 1), context);
  if (handle && !(handle->source_traceback = PyObject_CallMethod(loop.state().helpers.get(), "extract_stack", nullptr))) PyErr_Clear();
  return handle;
}

PyObject* call_soon(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const GilHeld gil;
  ByName given;
  HandleObject* handle = !given.take(args, nargs, kwnames, {"callback"}) ? nullptr : handle_for(gil, self, false, args, nargs, kwnames, "call_soon");
  if (!handle) return nullptr;
  Py_INCREF(handle);
  loop_of(self).push(handle);
  return reinterpret_cast<PyObject*>(handle);
}

PyObject* call_soon_threadsafe(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const GilHeld gil;
  ByName given;
  HandleObject* handle = !given.take(args, nargs, kwnames, {"callback"}) ? nullptr : handle_for(gil, self, false, args, nargs, kwnames, "call_soon_threadsafe", false);
  if (!handle) return nullptr;
  Py_INCREF(handle);
  loop_of(self).push_threadsafe(handle);
  return reinterpret_cast<PyObject*>(handle);
}

PyObject* schedule(PyObject* self, double when, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, const char* method) {
  const GilHeld gil;
  HandleObject* handle = handle_for(gil, self, true, args, nargs, kwnames, method);
  if (!handle) return nullptr;
  handle->when = when;
  Py_INCREF(handle);
  loop_of(self).add_timer(handle);
  return reinterpret_cast<PyObject*>(handle);
}

bool seconds(PyObject* const* args, Py_ssize_t nargs, const char* method, const char* what, double& value) {
  if (nargs < 2) {
    PyErr_Format(PyExc_TypeError, "%s() needs a %s and a callback", method, what);
    return false;
  }
  if (args[0] == Py_None) {
    PyErr_Format(PyExc_TypeError, "%s cannot be None", what);
    return false;
  }
  value = PyFloat_AsDouble(args[0]);
  if (value == -1.0 && PyErr_Occurred()) return false;
  if (value == value) return true;
  PyErr_Format(PyExc_ValueError, "%s cannot be NaN", what);
  return false;
}

PyObject* call_later(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  double delay;
  ByName given;
  if (!given.take(args, nargs, kwnames, {"delay", "callback"}) || !seconds(args, nargs, "call_later", "delay", delay)) return nullptr;
  return schedule(self, Loop::now() + delay, args + 1, nargs - 1, kwnames, "call_later");
}

PyObject* call_at(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  double when;
  ByName given;
  if (!given.take(args, nargs, kwnames, {"when", "callback"}) || !seconds(args, nargs, "call_at", "when", when)) return nullptr;
  return schedule(self, when, args + 1, nargs - 1, kwnames, "call_at");
}

PyObject* loop_time(PyObject*, PyObject*) { return PyFloat_FromDouble(Loop::now()); }

PyObject* stop(PyObject* self, PyObject*) {
  loop_of(self).stop();
  Py_RETURN_NONE;
}

PyObject* create_future(PyObject* self, PyObject*) {
  State& state = loop_of(self).state();
  return PyObject_Vectorcall(state.future.get(), &self, 0, state.kw_loop.get());
}

PyObject* create_task(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const GilHeld gil;
  Loop& loop = loop_of(self);
  if (!check_open(loop)) return nullptr;
  State& state = loop.state();
  const bool plain = loop.task_factory() == Py_None && !loop.debug();
  if (plain && nargs == 1 && !kwnames) {
    PyObject* with_loop[2] = {args[0], self};
    return PyObject_Vectorcall(state.task.get(), with_loop, 1, state.kw_loop.get());
  }
  // A factory, debug mode, or keywords that this version of asyncio knows: its own way.
  const Ref method = Ref::steal(PyObject_GetAttrString(state.base_loop.get(), "create_task"));
  if (!method) return nullptr;
  std::vector<PyObject*> all{self};
  all.insert(all.end(), args, args + nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0));
  return PyObject_Vectorcall(method.get(), all.data(), static_cast<std::size_t>(nargs) + 1, kwnames);
}

PyObject* set_factory(PyObject* self, PyObject* factory) {
  const GilHeld gil;
  if (factory != Py_None && !PyCallable_Check(factory)) {
    PyErr_SetString(PyExc_TypeError, "task factory must be a callable or None");
    return nullptr;
  }
  loop_of(self).set_task_factory(Ref::share(gil, factory));
  Py_RETURN_NONE;
}

PyObject* set_task_factory(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* factory = ByName::only("factory", args, nargs, kwnames);
  return factory ? set_factory(self, factory) : nullptr;
}

PyObject* get_task_factory(PyObject* self, PyObject*) {
  PyObject* factory = loop_of(self).task_factory();
  Py_INCREF(factory);
  return factory;
}

PyObject* open_loop(PyObject* self, PyObject* lent) {
  const GilHeld gil;
  uv_loop_t* uv = nullptr;
  if (lent != Py_None && !(uv = static_cast<uv_loop_t*>(PyCapsule_GetPointer(lent, "uv_loop_t")))) return nullptr;
  if (!loop_of(self).open(gil, uv)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* will_be_lent(PyObject* self, PyObject*) {
  loop_of(self).will_be_lent();
  Py_RETURN_NONE;
}

PyObject* close_loop(PyObject* self, PyObject*) {
  const GilHeld gil;
  if (loop_of(self).in_turn()) {  // by hand, with _run_once: a loop that runs refuses in Python
    PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
    return nullptr;
  }
  loop_of(self).close(gil);
  Py_RETURN_NONE;
}

PyObject* run_loop(PyObject* self, PyObject*) {
  const GilHeld gil;
  if (!check_driven(loop_of(self)) || !loop_of(self).run(gil)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* send_collected(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(loop_of(self).run_last(gil));
}

PyObject* run_once(PyObject* self, PyObject*) {
  const GilHeld gil;
  if (!check_driven(loop_of(self)) || PyErr_CheckSignals() != 0 || !loop_of(self).turn(gil, true)) return nullptr;
  Py_RETURN_NONE;
}

// Descriptors -----------------------------------------------------------------------------------------------------------

/// The number of a descriptor or of an object that has one; -1: ValueError is pending.
int descriptor(PyObject* of) {
  const int fd = PyObject_AsFileDescriptor(of);
  if (fd >= 0 || !PyErr_Occurred()) return fd;
  if (PyErr_ExceptionMatches(PyExc_ValueError)) {
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", PyLong_Check(of) ? of : Ref::steal(PyLong_FromLong(-1)).get());
  } else if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_AttributeError)) {
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "Invalid file object: %R", of);
  }
  return -1;
}

/// Guarded: add_reader and add_writer; else _add_reader and _add_writer, which asyncio's own transports use for the descriptors that they own.
template <int Event, bool Guarded>
PyObject* add_callback(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const GilHeld gil;
  const char* method = Event == Watcher::kReadable ? "add_reader" : "add_writer";
  ByName given;
  if (!given.take(args, nargs, kwnames, {"fd", "callback"})) return nullptr;
  if (nargs < 2) {
    PyErr_Format(PyExc_TypeError, "%s() needs a descriptor and a callback", method);
    return nullptr;
  }
  Loop& loop = loop_of(self);
  if (!check_driven(loop)) return nullptr;
  const int fd = descriptor(args[0]);
  if (fd < 0 || (Guarded && !loop.check_no_transport(gil, fd))) return nullptr;
  HandleObject* handle = handle_for(gil, self, false, args + 1, nargs - 1, kwnames, method);
  if (!handle) return nullptr;
  auto& watch = loop.fds()[fd];
  if (!watch) watch = std::make_unique<FdWatch>(loop, fd);
  if (!watch->add(gil, Event, handle, args[0])) {
    if (watch->idle()) loop.fds().erase(fd);
    return nullptr;
  }
  Py_INCREF(handle);
  return reinterpret_cast<PyObject*>(handle);
}

/// The number under which something is watched that may have been closed since, and then has none itself. -1: ValueError is pending.
int watched_descriptor(Loop& loop, PyObject* of) {
  const int fd = descriptor(of);
  if (fd >= 0 || !PyErr_ExceptionMatches(PyExc_ValueError)) return fd;
  for (const auto& [number, watch] : loop.fds())
    if (watch->is_of(of)) {
      PyErr_Clear();
      return number;
    }
  return -1;
}

template <int Event, bool Guarded>
PyObject* remove_callback(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const GilHeld gil;
  Loop& loop = loop_of(self);
  PyObject* of = ByName::only("fd", args, nargs, kwnames);
  if (!of) return nullptr;
  if (loop.closed()) Py_RETURN_FALSE;
  const int fd = watched_descriptor(loop, of);
  if (fd < 0 || (Guarded && !loop.check_no_transport(gil, fd))) return nullptr;
  const auto found = loop.fds().find(fd);
  if (found == loop.fds().end()) Py_RETURN_FALSE;
  const bool removed = found->second->remove(gil, Event);
  if (const auto still = loop.fds().find(fd); still != loop.fds().end() && still->second->idle()) {
    const auto last = std::move(still->second);
    loop.fds().erase(still);
  }
  return PyBool_FromLong(removed);
}

/// Raises RuntimeError where a transport owns the descriptor.
PyObject* ensure_no_transport(PyObject* self, PyObject* of) {
  const GilHeld gil;
  const int fd = descriptor(of);
  if (fd < 0 || !loop_of(self).check_no_transport(gil, fd)) return nullptr;
  Py_RETURN_NONE;
}

// Attributes ------------------------------------------------------------------------------------------------------------

PyObject* is_closed(PyObject* self, PyObject*) { return PyBool_FromLong(loop_of(self).closed()); }
PyObject* get_debug(PyObject* self, PyObject*) { return PyBool_FromLong(loop_of(self).debug()); }
PyObject* is_running(PyObject* self, PyObject*) { return PyBool_FromLong(loop_of(self).thread() != 0); }

PyObject* get_closed(PyObject* self, void*) { return is_closed(self, nullptr); }
PyObject* get_stopping(PyObject* self, void*) { return PyBool_FromLong(loop_of(self).stopping()); }
PyObject* get_debug_attribute(PyObject* self, void*) { return get_debug(self, nullptr); }
PyObject* get_slow(PyObject* self, void*) { return PyFloat_FromDouble(loop_of(self).slow_callback_duration()); }
PyObject* get_queued(PyObject* self, void*) { return PyLong_FromSize_t(loop_of(self).ready_count()); }
PyObject* get_timers(PyObject* self, void*) { return PyLong_FromSize_t(loop_of(self).timer_count()); }
PyObject* get_task_factory_attribute(PyObject* self, void*) { return get_task_factory(self, nullptr); }
PyObject* get_thread(PyObject* self, void*) {
  if (loop_of(self).thread() == 0) Py_RETURN_NONE;
  return PyLong_FromUnsignedLong(loop_of(self).thread());
}

int truth(PyObject* value) {
  if (value) return PyObject_IsTrue(value);
  PyErr_SetString(PyExc_AttributeError, "it cannot be deleted");
  return -1;
}

int set_stopping(PyObject* self, PyObject* value, void*) {
  const int on = truth(value);
  if (on >= 0) loop_of(self).set_stopping(on != 0);
  return on < 0 ? -1 : 0;
}

/// asyncio's __init__ sets it to False; only close() ends a loop.
int set_closed(PyObject*, PyObject* value, void*) { return truth(value) < 0 ? -1 : 0; }

int set_debug_attribute(PyObject* self, PyObject* value, void*) {
  const int on = truth(value);
  if (on >= 0) loop_of(self).set_debug(on != 0);
  return on < 0 ? -1 : 0;
}

int set_slow(PyObject* self, PyObject* value, void*) {
  const double given = value ? PyFloat_AsDouble(value) : -1.0;
  if (PyErr_Occurred()) return -1;
  loop_of(self).set_slow_callback_duration(given);
  return 0;
}

int set_thread(PyObject* self, PyObject* value, void*) {
  const unsigned long ident = value && value != Py_None ? PyLong_AsUnsignedLong(value) : 0;
  if (PyErr_Occurred()) return -1;
  loop_of(self).set_thread(ident);
  return 0;
}

int set_task_factory_attribute(PyObject* self, PyObject* value, void*) {
  return Ref::steal(set_factory(self, value ? value : Py_None)) ? 0 : -1;
}

// The object ------------------------------------------------------------------------------------------------------------

PyObject* new_loop(PyTypeObject* type, PyObject*, PyObject*) {
  const GilHeld gil;
  State* state = state_behind(type);
  if (!state) return nullptr;
  PyObject* self = type->tp_alloc(type, 0);
  if (self) new (&as_object(self)->loop) Loop(gil, *state, as_object(self));
  return self;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  as_object(self)->loop.~Loop();
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return loop_of(self).traverse(visit, arg);
}

int clear_loop(PyObject* self) {
  const GilHeld gil;
  loop_of(self).close(gil);
  return 0;
}

constexpr int kFast = METH_FASTCALL;
constexpr int kFastKeywords = METH_FASTCALL | METH_KEYWORDS;

PyMethodDef methods[] = {
    {"call_soon", function(call_soon), kFastKeywords, "call_soon($self, callback, /, *args, context=None)\n--\n\nCalls it in the next turn."},
    {"call_soon_threadsafe", function(call_soon_threadsafe), kFastKeywords,
     "call_soon_threadsafe($self, callback, /, *args, context=None)\n--\n\nThe same from any thread."},
    {"call_later", function(call_later), kFastKeywords,
     "call_later($self, delay, callback, /, *args, context=None)\n--\n\nCalls it after so many seconds, never earlier."},
    {"call_at", function(call_at), kFastKeywords,
     "call_at($self, when, callback, /, *args, context=None)\n--\n\nCalls it at that moment of loop.time(), never earlier."},
    {"time", loop_time, METH_NOARGS, "time($self, /)\n--\n\nSeconds of the monotonic clock."},
    {"stop", stop, METH_NOARGS, "stop($self, /)\n--\n\nThe run ends with the turn at hand, or the next one."},
    {"create_future", create_future, METH_NOARGS, "create_future($self, /)\n--\n\nAn asyncio.Future of this loop."},
    {"create_task", function(create_task), kFastKeywords, "create_task($self, coro, /, **kwargs)\n--\n\nRuns a coroutine as a task."},
    {"set_task_factory", function(set_task_factory), kFastKeywords, "set_task_factory($self, factory)\n--\n\nNone: asyncio.Task."},
    {"get_task_factory", get_task_factory, METH_NOARGS, "get_task_factory($self, /)\n--\n\nNone: asyncio.Task."},
    {"is_closed", is_closed, METH_NOARGS, "is_closed($self, /)\n--\n\nWhether close() was called."},
    {"is_running", is_running, METH_NOARGS, "is_running($self, /)\n--\n\nWhether a thread runs it."},
    {"get_debug", get_debug, METH_NOARGS, "get_debug($self, /)\n--\n\nWhether debug mode is on."},
    {"add_reader", function(add_callback<Watcher::kReadable, true>), kFastKeywords,
     "add_reader($self, fd, callback, /, *args)\n--\n\nCalls it while fd can be read."},
    {"_add_reader", function(add_callback<Watcher::kReadable, false>), kFastKeywords, nullptr},
    {"add_writer", function(add_callback<Watcher::kWritable, true>), kFastKeywords,
     "add_writer($self, fd, callback, /, *args)\n--\n\nCalls it while fd can be written."},
    {"_add_writer", function(add_callback<Watcher::kWritable, false>), kFastKeywords, nullptr},
    {"remove_reader", function(remove_callback<Watcher::kReadable, true>), kFastKeywords, "remove_reader($self, fd)\n--\n\nTrue if there was one."},
    {"_remove_reader", function(remove_callback<Watcher::kReadable, false>), kFastKeywords, nullptr},
    {"remove_writer", function(remove_callback<Watcher::kWritable, true>), kFastKeywords, "remove_writer($self, fd)\n--\n\nTrue if there was one."},
    {"_remove_writer", function(remove_callback<Watcher::kWritable, false>), kFastKeywords, nullptr},
    {"_ensure_fd_no_transport", ensure_no_transport, METH_O, nullptr},
    {"sock_recv", function(sock_recv), kFastKeywords, "sock_recv($self, sock, n)\n--\n\nAwait it: up to n bytes; none at the end of the stream."},
    {"sock_recv_into", function(sock_recv_into), kFastKeywords, "sock_recv_into($self, sock, buf)\n--\n\nAwait it: how many bytes were put there."},
    {"sock_recvfrom", function(sock_recvfrom), kFastKeywords, "sock_recvfrom($self, sock, bufsize)\n--\n\nAwait it: a datagram and its address."},
    {"sock_recvfrom_into", function(sock_recvfrom_into), kFastKeywords,
     "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\nAwait it: how many bytes were put there, and the address."},
    {"sock_sendall", function(sock_sendall), kFastKeywords, "sock_sendall($self, sock, data)\n--\n\nAwait it: everything was sent."},
    {"sock_sendto", function(sock_sendto), kFastKeywords, "sock_sendto($self, sock, data, address)\n--\n\nAwait it: how many bytes were sent."},
    {"sock_accept", function(sock_accept), kFastKeywords, "sock_accept($self, sock)\n--\n\nAwait it: a connection and its address."},
    {"_sock_connect_to", function(sock_connect_to), kFastKeywords, nullptr},
    {"_sock_writable", function(sock_writable), kFastKeywords, nullptr},
    {"_look_up_names", function(look_up_names), kFast, nullptr},
    {"_look_up_address", function(look_up_address), kFast, nullptr},
    {"_forget_look_up", forget_look_up, METH_O, nullptr},
    {"_open", open_loop, METH_O, nullptr},
    {"_will_be_lent", will_be_lent, METH_NOARGS, nullptr},
    {"_close", close_loop, METH_NOARGS, nullptr},
    {"_run", run_loop, METH_NOARGS, nullptr},
    {"_send_collected", send_collected, METH_NOARGS, nullptr},
    {"_run_once", run_once, METH_NOARGS, "_run_once($self, /)\n--\n\nOne turn; waits for something to do."},
    {nullptr, nullptr, 0, nullptr}};

// asyncio.BaseEventLoop sets and reads these.
PyGetSetDef attributes[] = {{"_closed", get_closed, set_closed, nullptr, nullptr},
                            {"_stopping", get_stopping, set_stopping, nullptr, nullptr},
                            {"_debug", get_debug_attribute, set_debug_attribute, nullptr, nullptr},
                            {"_thread_id", get_thread, set_thread, nullptr, nullptr},
                            {"_task_factory", get_task_factory_attribute, set_task_factory_attribute, nullptr, nullptr},
                            {"slow_callback_duration", get_slow, set_slow, nullptr, nullptr},
                            {"_queued", get_queued, nullptr, nullptr, nullptr},
                            {"_timers", get_timers, nullptr, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, slot(new_loop)},       {Py_tp_dealloc, slot(dealloc)}, {Py_tp_traverse, slot(traverse)},
                       {Py_tp_clear, slot(clear_loop)},   {Py_tp_methods, methods},       {Py_tp_getset, attributes},
                       {0, nullptr}};

PyType_Spec spec{"_erlang_loop.Loop", sizeof(LoopObject), 0,
                 static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC), slots};

}  // namespace

bool make_loop_type(const Gil&, State& state, PyObject* module) {
  state.loop = Ref::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return state.loop && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(state.loop.get())) == 0;
}

}  // namespace pyw::aio
