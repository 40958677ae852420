#pragma once

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#if PY_VERSION_HEX < 0x03090000
#error "py_port needs CPython 3.9 or newer"
#endif

/// The few places where CPython 3.9 to 3.13 differ for us. Everybody in python/ and loop/ includes CPython through this file.
/// GIL: needed by every function here.
namespace pyw::compat {

/// New reference: the non-negative integer with this little-endian magnitude.
inline PyObject* long_from_magnitude(const unsigned char* bytes, std::size_t size) {
#if PY_VERSION_HEX >= 0x030D0000
  return PyLong_FromUnsignedNativeBytes(bytes, size, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
  return _PyLong_FromByteArray(bytes, size, /*little_endian=*/1, /*is_signed=*/0);
#endif
}

/// Bytes that the magnitude of a non-negative integer needs; negative: an exception is pending.
inline Py_ssize_t long_magnitude_size(PyObject* value) {
#if PY_VERSION_HEX >= 0x030D0000
  return PyLong_AsNativeBytes(value, nullptr, 0, Py_ASNATIVEBYTES_LITTLE_ENDIAN | Py_ASNATIVEBYTES_UNSIGNED_BUFFER);
#else
  const std::size_t bits = _PyLong_NumBits(value);
  if (bits == static_cast<std::size_t>(-1) && PyErr_Occurred()) return -1;
  return static_cast<Py_ssize_t>(bits / 8 + 1);
#endif
}

/// Writes the magnitude little-endian into `size` bytes (as long_magnitude_size said). False: an exception is pending.
inline bool long_to_magnitude(PyObject* value, unsigned char* bytes, std::size_t size) {
#if PY_VERSION_HEX >= 0x030D0000
  return PyLong_AsNativeBytes(value, bytes, static_cast<Py_ssize_t>(size),
                              Py_ASNATIVEBYTES_LITTLE_ENDIAN | Py_ASNATIVEBYTES_UNSIGNED_BUFFER) >= 0;
#else
  return _PyLong_AsByteArray(reinterpret_cast<PyLongObject*>(value), bytes, size, /*little_endian=*/1, /*is_signed=*/0) == 0;
#endif
}

/// New reference: an empty dict with room for `size` entries. All versions export it, none documents it; without it a map of
/// 100,000 keys is rehashed seventeen times.
inline PyObject* dict_with_room(Py_ssize_t size) { return size > 5 ? _PyDict_NewPresized(size) : PyDict_New(); }

/// New reference, or null when nothing is pending: takes the pending exception as one normalised object with its traceback set.
inline PyObject* take_raised() {
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  if (!type) return nullptr;
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback && value && PyExceptionInstance_Check(value)) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
#endif
}

/// Makes the exception pending again. Steals it.
inline void restore_raised(PyObject* exception) {
#if PY_VERSION_HEX >= 0x030C0000
  PyErr_SetRaisedException(exception);
#else
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(exception));
  Py_INCREF(type);
  PyErr_Restore(type, exception, PyException_GetTraceback(exception));
#endif
}

#if PY_VERSION_HEX >= 0x030A0000
inline constexpr unsigned long kImmutableType = Py_TPFLAGS_IMMUTABLETYPE;
#else
inline constexpr unsigned long kImmutableType = 0;
#endif

}  // namespace pyw::compat
