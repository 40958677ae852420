#include "aio/members.hpp"
#include "aio/handle.hpp"

#include <cstring>

#include "aio/loop.hpp"
#include "aio/raised.hpp"
#include "aio/slots.hpp"

namespace pyw::aio {
namespace {

HandleObject* as_handle(PyObject* self) { return reinterpret_cast<HandleObject*>(self); }

/// One that somebody keeps for longer than the loop does is an object like others.
void track(HandleObject* handle) {
  PyObject* object = reinterpret_cast<PyObject*>(handle);
  if (!PyObject_GC_IsTracked(object)) PyObject_GC_Track(object);
}

void dealloc(PyObject* self) {
  HandleObject* handle = as_handle(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
#if PY_VERSION_HEX < 0x030C0000
  if (handle->weak_references)  // most have none
#endif
    PyObject_ClearWeakRefs(self);
  handle->clear();
  Py_CLEAR(handle->source_traceback);
  Py_CLEAR(handle->repr);
  State& state = state_of_type(type);
#ifndef Py_GIL_DISABLED
  if (!handle->is_timer && state.free_count < State::kFree) {
    state.free_handles[state.free_count++] = handle;
    Py_DECREF(type);
    return;
  }
#endif
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  HandleObject* handle = as_handle(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<PyObject*>(handle->loop));
  Py_VISIT(handle->callback);
  Py_VISIT(handle->context);
  for (PyObject* argument : handle->args) Py_VISIT(argument);
  Py_VISIT(handle->source_traceback);
  return 0;
}

int clear_slot(PyObject* self) {
  as_handle(self)->clear();
  return 0;
}

PyObject* refuse_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyErr_Format(PyExc_TypeError, "%s objects are made by the loop's call_soon, call_later and call_at", type->tp_name);
  return nullptr;
}

PyObject* cancel(PyObject* self, PyObject*) {
  HandleObject* handle = as_handle(self);
  if (handle->cancelled) Py_RETURN_NONE;
  handle->cancelled = true;
  if (handle->loop && handle->loop->loop.debug()) {
    PyObject* repr = PyObject_Repr(self);  // what asyncio's debug mode shows of a cancelled one
    if (!repr) PyErr_Clear();  // shown to people only
    Py_XSETREF(handle->repr, repr);
  }
  if (handle->scheduled) {
    handle->loop->loop.remove_timer(handle);  // may free it, but for the caller's reference
  }
  handle->clear();
  track(handle);
  Py_RETURN_NONE;
}

PyObject* is_cancelled(PyObject* self, PyObject*) { return PyBool_FromLong(as_handle(self)->cancelled); }

PyObject* when(PyObject* self, PyObject*) { return PyFloat_FromDouble(as_handle(self)->when); }

PyObject* run(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Ref loop = Ref::share(gil, reinterpret_cast<PyObject*>(as_handle(self)->loop));  // the callback may cancel the handle, which lets go of it
  if (!run_handle(gil, as_handle(self))) return nullptr;
  Py_RETURN_NONE;
}

PyObject* get_context(PyObject* self, PyObject*) {
  PyObject* context = as_handle(self)->context ? as_handle(self)->context : Py_None;
  Py_INCREF(context);
  return context;
}

PyObject* get_callback(PyObject* self, void*) { return shared_or_none(as_handle(self)->callback); }
PyObject* get_context_attribute(PyObject* self, void*) { return shared_or_none(as_handle(self)->context); }
PyObject* get_loop(PyObject* self, void*) { return shared_or_none(reinterpret_cast<PyObject*>(as_handle(self)->loop)); }
PyObject* get_traceback(PyObject* self, void*) { return shared_or_none(as_handle(self)->source_traceback); }
PyObject* get_repr(PyObject* self, void*) { return shared_or_none(as_handle(self)->repr); }
PyObject* get_cancelled(PyObject* self, void*) { return PyBool_FromLong(as_handle(self)->cancelled); }
PyObject* get_scheduled(PyObject* self, void*) { return PyBool_FromLong(as_handle(self)->scheduled); }
PyObject* get_when(PyObject* self, void*) { return PyFloat_FromDouble(as_handle(self)->when); }
PyObject* get_args(PyObject* self, void*) {
  HandleObject* handle = as_handle(self);
  return handle->callback ? handle->arguments() : shared_or_none(nullptr);
}

PyMethodDef methods[] = {{"cancel", cancel, METH_NOARGS, "cancel($self, /)\n--\n\nThe callback will not be called."},
                         {"cancelled", is_cancelled, METH_NOARGS, "cancelled($self, /)\n--\n\nWhether cancel() was called."},
                         {"get_context", get_context, METH_NOARGS, "get_context($self, /)\n--\n\nThe context in which the callback runs."},
                         {"_run", run, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};

PyMethodDef timer_methods[] = {{"cancel", cancel, METH_NOARGS, "cancel($self, /)\n--\n\nThe callback will not be called."},
                               {"cancelled", is_cancelled, METH_NOARGS, "cancelled($self, /)\n--\n\nWhether cancel() was called."},
                               {"get_context", get_context, METH_NOARGS, "get_context($self, /)\n--\n\nThe context in which the callback runs."},
                               {"when", when, METH_NOARGS, "when($self, /)\n--\n\nWhen it is due, in seconds on the clock of loop.time()."},
                               {"_run", run, METH_NOARGS, nullptr},
                               {nullptr, nullptr, 0, nullptr}};

// asyncio's own methods (__repr__, comparisons) read these.
PyGetSetDef attributes[] = {{"_callback", get_callback, nullptr, nullptr, nullptr},
                            {"_args", get_args, nullptr, nullptr, nullptr},
                            {"_context", get_context_attribute, nullptr, nullptr, nullptr},
                            {"_loop", get_loop, nullptr, nullptr, nullptr},
                            {"_cancelled", get_cancelled, nullptr, nullptr, nullptr},
                            {"_source_traceback", get_traceback, nullptr, nullptr, nullptr},
                            {"_repr", get_repr, nullptr, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyGetSetDef timer_attributes[] = {{"_callback", get_callback, nullptr, nullptr, nullptr},
                                  {"_args", get_args, nullptr, nullptr, nullptr},
                                  {"_context", get_context_attribute, nullptr, nullptr, nullptr},
                                  {"_loop", get_loop, nullptr, nullptr, nullptr},
                                  {"_cancelled", get_cancelled, nullptr, nullptr, nullptr},
                                  {"_source_traceback", get_traceback, nullptr, nullptr, nullptr},
                                  {"_repr", get_repr, nullptr, nullptr, nullptr},
                                  {"_scheduled", get_scheduled, nullptr, nullptr, nullptr},
                                  {"_when", get_when, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};

Ref make_type(const Gil& gil, PyObject* module, const char* name, const char* base_name, PyMethodDef* own_methods, PyGetSetDef* own_attributes) {
  PyType_Slot slots[] = {{Py_tp_dealloc, slot(dealloc)}, {Py_tp_traverse, slot(traverse)}, {Py_tp_clear, slot(clear_slot)},
                         {Py_tp_new, slot(refuse_new)}, {Py_tp_methods, own_methods},      {Py_tp_getset, own_attributes},
                         {0, nullptr}};
  PyType_Spec spec{name, sizeof(HandleObject), 0, static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC), slots};
  const Ref base = attribute(gil, "asyncio", base_name);
  if (!base) return {};
  const auto* parent = reinterpret_cast<PyTypeObject*>(base.get());
#if PY_VERSION_HEX < 0x030C0000
  const bool weak_as_known = parent->tp_weaklistoffset == static_cast<Py_ssize_t>(offsetof(HandleObject, weak_references));
#else
  const bool weak_as_known = (parent->tp_flags & Py_TPFLAGS_MANAGED_WEAKREF) != 0;
#endif
  if (parent->tp_basicsize > static_cast<Py_ssize_t>(offsetof(HandleObject, nargs)) || !weak_as_known || parent->tp_dictoffset != 0) {
    PyErr_Format(PyExc_ImportError, "asyncio.%s has other slots than this version of py_port knows", base_name);
    return {};
  }
  const Ref bases = Ref::steal(PyTuple_Pack(1, base.get()));
  return bases ? Ref::steal(PyType_FromModuleAndSpec(module, &spec, bases.get())) : Ref();
}

/// A step of a task, or its going on when a future is done. A future is known by an attribute, for there are tasks in C and in Python.
bool is_of_task(State& state, PyObject* callback) {
  Ref pending = Ref::steal(compat::take_raised());
  const Ref owner = Ref::steal(PyObject_GetAttr(callback, state.s_self.get()));
  const bool is = owner && PyObject_HasAttr(owner.get(), state.s_future_blocking.get());
  PyErr_Clear();  // most callables have no __self__
  compat::restore_raised(pending.release());
  return is;
}

bool report_failure(const Gil& gil, Loop& loop, HandleObject* handle, PyObject* callback, PyObject* args) {
  if (ends_the_run()) {
    loop.set_ended_by_task(is_of_task(loop.state(), callback));
    return false;
  }
  const Ref exception = Ref::steal(compat::take_raised());
  const Ref known = Ref::steal(PyObject_CallMethod(loop.state().helpers.get(), "callback_failed", "OOOOO", loop.object(), handle, callback,
                                                   args ? args : Py_None, exception.get()));
  if (known) return true;
  if (ends_the_run()) return false;
  PyErr_WriteUnraisable(loop.object());
  (void)gil;
  return true;
}

PyObject* tuple_of(PyObject* const* items, std::size_t count) {
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(count));
  for (std::size_t i = 0; tuple && i < count; ++i) {
    Py_INCREF(items[i]);
    PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), items[i]);
  }
  return tuple;
}

/// Kept as it is, for it may run again, or be shown.
bool run_kept(const Gil& gil, HandleObject* handle) {
  // The callback may cancel this very handle.
  const Ref callback = Ref::share(gil, handle->callback), context = Ref::share(gil, handle->context);
  const Ref args[3] = {Ref::share(gil, handle->args[0]), Ref::share(gil, handle->args[1]), Ref::share(gil, handle->args[2])};
  PyObject* given[4] = {nullptr, args[0].get(), args[1].get(), args[2].get()};
  const std::size_t nargs = handle->nargs;
  const bool are_tuple = handle->args_are_tuple;
  const Ref held_loop = Ref::share(gil, reinterpret_cast<PyObject*>(handle->loop));
  Loop& loop = loop_of(held_loop.get());
  const bool timed = loop.debug();
  const double began = timed ? Loop::now() : 0;
  bool ok = PyContext_Enter(context.get()) == 0;
  if (ok) {
    ok = static_cast<bool>(Ref::steal(are_tuple ? PyObject_CallObject(callback.get(), given[1])
                                                : PyObject_Vectorcall(callback.get(), given + 1, nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr)));
    PyContext_Exit(context.get());  // keeps a pending exception
  }
  bool goes_on = ok;
  if (!ok) {
    Ref pending = Ref::steal(compat::take_raised());
    const Ref shown = are_tuple ? Ref::share(gil, given[1]) : Ref::steal(tuple_of(given + 1, nargs));
    compat::restore_raised(pending.release());
    goes_on = report_failure(gil, loop, handle, callback.get(), shown.get());
  }
  if (goes_on && timed && Loop::now() - began >= loop.slow_callback_duration() &&
      !Ref::steal(PyObject_CallMethod(loop.state().helpers.get(), "callback_was_slow", "Od", handle, Loop::now() - began)))
    PyErr_WriteUnraisable(loop.object());
  return goes_on;
}

}  // namespace

PyObject* HandleObject::arguments() const {
  if (args_are_tuple) {
    Py_INCREF(args[0]);
    return args[0];
  }
  return tuple_of(args, nargs);
}

void HandleObject::clear() {
  Py_CLEAR(callback);
  Py_CLEAR(context);
  for (PyObject*& argument : args) Py_CLEAR(argument);
  Py_CLEAR(loop);
}

void drop_handle(HandleObject* handle) {
  if (Py_REFCNT(handle) > 1) track(handle);
  Py_DECREF(handle);
}

int visit_held(HandleObject* handle, visitproc visit, void* arg) {
  if (PyObject_GC_IsTracked(reinterpret_cast<PyObject*>(handle))) return visit(reinterpret_cast<PyObject*>(handle), arg);
  return Py_REFCNT(handle) == 1 ? traverse(reinterpret_cast<PyObject*>(handle), visit, arg) : 0;
}

bool make_handle_types(const Gil& gil, State& state, PyObject* module) {
  state.handle = make_type(gil, module, "_erlang_loop.Handle", "Handle", methods, attributes);
  if (state.handle) state.timer_handle = make_type(gil, module, "_erlang_loop.TimerHandle", "TimerHandle", timer_methods, timer_attributes);
  return state.timer_handle && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(state.handle.get())) == 0 &&
         PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(state.timer_handle.get())) == 0;
}

HandleObject* new_handle(const Gil&, State& state, LoopObject* loop, bool timer, PyObject* callback, PyObject* const* args, std::size_t nargs,
                         PyObject* context) {
  if (context)
    Py_INCREF(context);
  else if (!(context = PyContext_CopyCurrent()))
    return nullptr;
  HandleObject* handle;
  auto* type = reinterpret_cast<PyTypeObject*>(timer ? state.timer_handle.get() : state.handle.get());
#ifndef Py_GIL_DISABLED
  if (!timer && state.free_count > 0) {
    handle = state.free_handles[--state.free_count];
    PyObject_Init(reinterpret_cast<PyObject*>(handle), type);
  } else
#endif
  {
    handle = PyObject_GC_New(HandleObject, type);
    if (!handle) {
      Py_DECREF(context);
      return nullptr;
    }
    std::memset(reinterpret_cast<char*>(handle) + sizeof(PyObject), 0, sizeof(HandleObject) - sizeof(PyObject));
  }
  Py_INCREF(loop);
  Py_INCREF(callback);
  handle->loop = loop;
  handle->callback = callback;
  handle->context = context;
  handle->is_timer = timer;
  handle->cancelled = handle->scheduled = handle->args_are_tuple = handle->repeats = false;
  handle->nargs = static_cast<std::uint8_t>(nargs <= 3 ? nargs : 0);
  if (nargs <= 3) {
    for (std::size_t i = 0; i < nargs; ++i) {
      Py_INCREF(args[i]);
      handle->args[i] = args[i];
    }
    return handle;
  }
  PyObject* tuple = tuple_of(args, nargs);
  if (!tuple) {
    Py_DECREF(handle);
    return nullptr;
  }
  handle->args[0] = tuple;
  handle->args_are_tuple = true;
  return handle;
}

bool run_handle(const Gil& gil, HandleObject* handle) {
  if (!handle->callback) return true;
  if (handle->repeats || handle->loop->loop.debug()) return run_kept(gil, handle);
  // The callback may cancel or drop this very handle: it holds nothing from here on.
  PyObject* const callback = std::exchange(handle->callback, nullptr);
  PyObject* const context = std::exchange(handle->context, nullptr);
  PyObject* held[4] = {nullptr, handle->args[0], handle->args[1], handle->args[2]};
  handle->args[0] = handle->args[1] = handle->args[2] = nullptr;
  const std::size_t nargs = handle->nargs;
  Loop* const loop = &handle->loop->loop;  // it runs us, so it stays
  bool ok = true;
  if (PyContext_Enter(context) == 0) {
    PyObject* result = handle->args_are_tuple ? PyObject_CallObject(callback, held[1])
                                              : PyObject_Vectorcall(callback, held + 1, nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
    PyContext_Exit(context);
    Py_XDECREF(result);
    ok = result != nullptr;
  } else {
    ok = false;
  }
  if (!ok) [[unlikely]] {
    const Ref args = handle->args_are_tuple ? Ref::share(gil, held[1]) : Ref::steal(tuple_of(held + 1, nargs));
    // The exception handler is shown what has run, and is called in its context.
    if (!handle->cancelled) {
      handle->callback = Ref::share(gil, callback).release();
      for (std::uint32_t i = 0; i < 3; ++i) handle->args[i] = std::exchange(held[i + 1], nullptr);
    }
    handle->context = Ref::share(gil, context).release();
    ok = report_failure(gil, *loop, handle, callback, args.get());
    Py_CLEAR(handle->callback);
    for (PyObject*& argument : handle->args) Py_CLEAR(argument);
  }
  Py_XDECREF(held[1]);
  Py_XDECREF(held[2]);
  Py_XDECREF(held[3]);
  Py_DECREF(callback);
  if (Py_REFCNT(handle) == 1) [[likely]] {
    Py_DECREF(context);
    return ok;
  }
  Py_XSETREF(handle->context, context);  // whoever kept it may still ask for that
  track(handle);
  return ok;
}

}  // namespace pyw::aio
