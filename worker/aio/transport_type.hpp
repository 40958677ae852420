#pragma once

#include <cstddef>
#include <span>

#include "aio/by_name.hpp"
#include "aio/slots.hpp"
#include "aio/state.hpp"
#include "aio/water_marks.hpp"

namespace pyw::aio {

// What the Python types of the transports, and of TLS's protocol, have in common: the front of their objects, how those live and end, methods that
// only pass a call on, and how such a type is made on asyncio's classes. Each *_type.cpp keeps what is its own: its methods, and its tables in full.
// Threads: the loop's. GIL: held.

/// The front of an object whose base class keeps nothing in it. Of standard layout, so that its members have offsets, which CPython is told.
struct ProtocolHead {
  PyObject_HEAD
  PyObject* weak_references;
  PyObject* dict;

  static void* members();  ///< for Py_tp_members: where those two are
  static constexpr std::size_t room() { return offsetof(ProtocolHead, weak_references); }
  std::span<PyObject*> slots_of_base() { return {}; }
};

/// The same behind the slots of asyncio's transports, which mostly stay empty: attributes of ours have the same names.
struct TransportHead {
  PyObject_HEAD
  PyObject* of_base[5];
  PyObject* weak_references;
  PyObject* dict;

  static void* members();  ///< for Py_tp_members: where those two are
  static constexpr std::size_t room() { return offsetof(TransportHead, weak_references); }
  std::span<PyObject*> slots_of_base() { return of_base; }
};

/// tp_traverse, tp_clear and tp_dealloc (which has tp_finalize called, if there is one) of an Object: one of the heads, and behind it something of
/// ours, for which it says
///     int traverse(visitproc visit, void* arg) const   what it refers to
///     void clear()                                     lets go of that; more than once, perhaps
///     void destroy()                                   ends it
/// They must put up with an object that is all zeros, where the type's own code lets such a one be seen.
template <class Object>
struct Life {
  static int traverse(PyObject* self, visitproc visit, void* arg) {
    Object& object = *reinterpret_cast<Object*>(self);
    Py_VISIT(Py_TYPE(self));
    for (PyObject* each : object.slots_of_base()) Py_VISIT(each);
    Py_VISIT(object.dict);
    return object.traverse(visit, arg);
  }

  static int clear(PyObject* self) {
    Object& object = *reinterpret_cast<Object*>(self);
    for (PyObject*& each : object.slots_of_base()) Py_CLEAR(each);
    Py_CLEAR(object.dict);
    object.clear();
    return 0;
  }

  static void dealloc(PyObject* self) {
    if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
    Object& object = *reinterpret_cast<Object*>(self);
    PyTypeObject* const type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (object.weak_references) PyObject_ClearWeakRefs(self);
    object.destroy();
    for (PyObject*& each : object.slots_of_base()) Py_CLEAR(each);
    Py_CLEAR(object.dict);
    type->tp_free(self);
    Py_DECREF(type);
  }
};

/// tp_init where everything is done by __new__; asyncio's __init__ would fill slots that nobody reads, or take the arguments for its own.
int init_nothing(PyObject* self, PyObject* args, PyObject* kwargs);

/// Makes a type and adds it to `module`. Empty: an exception is pending; it is ImportError if the first of `bases` keeps more in its objects than
/// `room`. Empty bases: their exception is pending already.
Ref add_type(const Gil& gil, PyObject* module, PyType_Spec& spec, std::size_t room, const Ref& bases);
template <class Object>
Ref add_type(const Gil& gil, PyObject* module, const char* name, PyType_Slot* slots, const Ref& bases) {
  PyType_Spec spec{name, sizeof(Object), 0, static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC), slots};
  return add_type(gil, module, spec, Object::room(), bases);
}

/// Whether `loop` is one of ours that has not been closed. False: an exception is pending.
bool is_open_loop(const State& state, PyObject* loop);

/// Whether a protocol has connection_made: None, of a factory that forgot to return it, has not, and whoever connects is to be told. False:
/// AttributeError is pending.
bool can_be_connected(const State& state, PyObject* protocol);

// Answers: new references; null: an exception is pending. Of objects that are lent; null is None.
inline PyObject* as_python(bool answer) { return PyBool_FromLong(answer); }
inline PyObject* as_python(int answer) { return PyLong_FromLong(answer); }
inline PyObject* as_python(std::size_t answer) { return PyLong_FromSize_t(answer); }
inline PyObject* as_python(PyObject* answer) { return shared_or_none(answer); }

/// A METH_O function whose argument may be given by its name. METH_FASTCALL | METH_KEYWORDS.
template <auto F, Name kName>
PyObject* named(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* argument = ByName::only(kName.text, args, nargs, kwnames);
  return argument ? F(self, argument) : nullptr;
}

/// Functions for the tables of a type that only pass a call on: to members of what `Of` finds in the object, which is a plain function.
template <auto Of>
struct Methods {
  /// bool M(gil), where false means that an exception is pending.
  template <auto M>
  static PyObject* call(PyObject* self, PyObject*) {
    const GilHeld gil;
    return none_if((Of(self).*M)(gil));
  }
  /// bool M(gil, argument)
  template <auto M>
  static PyObject* call_with(PyObject* self, PyObject* argument) {
    const GilHeld gil;
    return none_if((Of(self).*M)(gil, argument));
  }
  template <auto M, Name kName>
  static PyObject* call_named(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
    return named<call_with<M>, kName>(self, args, nargs, kwnames);
  }
  /// What M() answers: as a method, and as an attribute.
  template <auto M>
  static PyObject* ask(PyObject* self, PyObject*) {
    return as_python((Of(self).*M)());
  }
  template <auto M>
  static PyObject* get(PyObject* self, void*) {
    return as_python((Of(self).*M)());
  }

  /// Where that cannot fail.
  static PyObject* set_protocol(PyObject* self, PyObject* protocol) {
    const GilHeld gil;
    Of(self).set_protocol(Ref::share(gil, protocol));
    Py_RETURN_NONE;
  }
  static PyObject* set_write_buffer_limits(PyObject* self, PyObject* args, PyObject* kwargs) {
    const GilHeld gil;
    WaterMarks marks;
    return none_if(parse_water_marks(args, kwargs, marks) && Of(self).set_marks(gil, marks));
  }
  /// (exception, message=...)
  static PyObject* fatal_error(PyObject* self, PyObject* args) {
    const GilHeld gil;
    PyObject* exception = nullptr;
    const char* message = Of(self).kFatal;
    if (!PyArg_ParseTuple(args, "O|s:_fatal_error", &exception, &message)) return nullptr;
    return none_if(Of(self).fatal(gil, exception, message));
  }
};

}  // namespace pyw::aio
