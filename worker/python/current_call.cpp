#include "python/current_call.hpp"

#include <structmember.h>

#include <cstddef>

namespace pyw {
namespace {

struct CallObject {
  PyObject_HEAD
  unsigned long long id;
  unsigned long long parent;
  unsigned long long deadline;
  PyObject* trace;  ///< str, or null
};

CallObject* as_call(PyObject* object) { return reinterpret_cast<CallObject*>(object); }

void free_call(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_XDECREF(as_call(self)->trace);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMemberDef members[] = {
    {"id", T_ULONGLONG, offsetof(CallObject, id), READONLY, "The request's number."},
    {"parent", T_ULONGLONG, offsetof(CallObject, parent), READONLY, "The callback that the request descends from; 0: none."},
    {"deadline", T_ULONGLONG, offsetof(CallObject, deadline), READONLY, "Nanoseconds of CLOCK_MONOTONIC; 0: none."},
    {"trace", T_OBJECT, offsetof(CallObject, trace), READONLY, "W3C traceparent, or traceparent, a newline and tracestate; None: not given."},
    {nullptr, 0, 0, 0, nullptr}};

/// Owns: the returned Ref. The same call with another trace; `trace` is lent, and may be null.
Ref copy_of(PyObject* call, PyObject* trace) {
  PyTypeObject* type = Py_TYPE(call);
  Ref copy = Ref::steal(type->tp_alloc(type, 0));
  if (!copy) return {};
  as_call(copy.get())->id = as_call(call)->id;
  as_call(copy.get())->parent = as_call(call)->parent;
  as_call(copy.get())->deadline = as_call(call)->deadline;
  Py_XINCREF(trace);
  as_call(copy.get())->trace = trace;
  return copy;
}

/// For what goes on after the call: the same, but with all the time.
PyObject* without_deadline(PyObject* self, PyObject*) {
  Ref copy = copy_of(self, as_call(self)->trace);
  if (copy) as_call(copy.get())->deadline = 0;
  return copy.release();
}

PyMethodDef methods[] = {{"without_deadline", without_deadline, METH_NOARGS, "The same call with all the time."}, {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(free_call)},
                       {Py_tp_members, members},
                       {Py_tp_methods, methods},
                       {Py_tp_doc, const_cast<char*>("What is known of the request that the code at hand runs for.")},
                       {0, nullptr}};
PyType_Spec spec = {"_erlang.Call", sizeof(CallObject), 0, Py_TPFLAGS_DEFAULT, slots};

Ref make_call(PyObject* type, const port::Header& header) {
  auto* kind = reinterpret_cast<PyTypeObject*>(type);
  Ref call = Ref::steal(kind->tp_alloc(kind, 0));
  if (!call) return {};
  as_call(call.get())->id = header.id;
  as_call(call.get())->parent = header.parent;
  as_call(call.get())->deadline = header.deadline;
  if (!header.trace.empty()) {
    as_call(call.get())->trace = PyUnicode_DecodeUTF8(header.trace.data(), static_cast<Py_ssize_t>(header.trace.size()), "replace");
    if (!as_call(call.get())->trace) return {};
  }
  return call;
}

}  // namespace

Result<CurrentCall> CurrentCall::make(const Gil&) {
  Ref type = Ref::steal(PyType_FromSpec(&spec));
  Ref variable = Ref::steal(type ? PyContextVar_New("erlang_call", nullptr) : nullptr);
  if (!variable) {
    PyErr_Clear();
    return Error{Errc::python, "the context variable of calls cannot be made"};
  }
  return CurrentCall(std::move(type), std::move(variable));
}

Ref CurrentCall::object(const Gil& gil) const {
  PyObject* value = nullptr;
  if (PyContextVar_Get(variable_.get(), Py_None, &value) < 0) {
    PyErr_Clear();  // a context whose lookup fails has no call
    return Ref::share(gil, Py_None);
  }
  return Ref::steal(value);
}

CurrentCall::Facts CurrentCall::facts(const Gil& gil) const {
  const Ref call = object(gil);
  if (!PyObject_TypeCheck(call.get(), reinterpret_cast<PyTypeObject*>(type_.get()))) return {};
  Facts facts{as_call(call.get())->id, as_call(call.get())->deadline, {}};
  if (PyObject* trace = as_call(call.get())->trace) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(trace, &size);
    if (text) facts.trace = {text, static_cast<std::size_t>(size)};
  }
  return facts;
}

Ref CurrentCall::set_trace(const Gil& gil, PyObject* trace) const {
  auto* type = reinterpret_cast<PyTypeObject*>(type_.get());
  Ref call = object(gil);
  // Outside of requests the trace is all that there is to know.
  if (!PyObject_TypeCheck(call.get(), type)) call = Ref::steal(type->tp_alloc(type, 0));
  if (call) call = copy_of(call.get(), trace);
  return call ? Ref::steal(PyContextVar_Set(variable_.get(), call.get())) : Ref();
}

bool CurrentCall::reset(const Gil&, PyObject* token) const { return PyContextVar_Reset(variable_.get(), token) == 0; }

CurrentCall::Scope::Scope(const Gil&, const CurrentCall& current, const port::Header& header) {
  Ref context = Ref::steal(PyContext_CopyCurrent());
  if (!context || PyContext_Enter(context.get()) < 0) return;
  context_ = std::move(context);
  const Ref call = make_call(current.type_.get(), header);
  if (call && Ref::steal(PyContextVar_Set(current.variable_.get(), call.get()))) return;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyContext_Exit(context_.get());
  PyErr_Restore(type, value, trace);
  context_.reset();
}

CurrentCall::Scope::~Scope() {
  if (context_ && PyContext_Exit(context_.get()) < 0) PyErr_WriteUnraisable(context_.get());
}

}  // namespace pyw
