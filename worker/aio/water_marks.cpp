#include "aio/water_marks.hpp"

namespace pyw::aio {

bool parse_water_marks(PyObject* args, PyObject* kwargs, WaterMarks& marks, const char* format) {
  static const char* names[] = {"high", "low", nullptr};
  PyObject *high_given = Py_None, *low_given = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, const_cast<char**>(names), &high_given, &low_given)) return false;
  const bool no_high = high_given == Py_None, no_low = low_given == Py_None;
  if (no_high && no_low) return true;
  Py_ssize_t low = no_low ? 0 : PyNumber_AsSsize_t(low_given, PyExc_OverflowError);
  if (PyErr_Occurred()) return false;
  Py_ssize_t high = no_high ? 0 : PyNumber_AsSsize_t(high_given, PyExc_OverflowError);
  if (PyErr_Occurred()) return false;
  if (no_high && __builtin_mul_overflow(low, 4, &high)) high = low < 0 ? PY_SSIZE_T_MIN : PY_SSIZE_T_MAX;
  if (no_low) low = high / 4;
  if (high < low || low < 0) {
    PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", high, low);
    return false;
  }
  marks = {static_cast<std::size_t>(high), static_cast<std::size_t>(low)};
  return true;
}

PyObject* as_python(const WaterMarks& marks) {
  return Py_BuildValue("(nn)", static_cast<Py_ssize_t>(marks.low), static_cast<Py_ssize_t>(marks.high));
}

}  // namespace pyw::aio
