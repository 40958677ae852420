#pragma once

#include "python/ref.hpp"

namespace pyw::aio {

// What the functions and tables of every Python type of ours are written with. Threads: any. GIL: held by whoever has CPython call them.

/// A function for PyType_Slot or PyModuleDef_Slot.
template <class F>
void* slot(F* f) {
  return reinterpret_cast<void*>(f);
}

/// One for PyMethodDef that takes more than (self, argument): its flags say what.
template <class F>
PyCFunction function(F* f) {
  return reinterpret_cast<PyCFunction>(slot(f));
}

/// None; null if an exception is pending, which `ok` denies.
inline PyObject* none_if(bool ok) {
  if (!ok) return nullptr;
  Py_RETURN_NONE;
}

/// New reference, to None for null.
inline PyObject* shared_or_none(PyObject* object) {
  if (!object) object = Py_None;
  Py_INCREF(object);
  return object;
}

}  // namespace pyw::aio
