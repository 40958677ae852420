#include "aio/water_marks.hpp"

#include <cmath>

namespace pyw::aio {
namespace {

/// Any number, as asyncio takes it, in whole bytes; as much as fits. False: an exception is pending.
bool bytes_of(PyObject* number, Py_ssize_t& bytes) {
  if (PyIndex_Check(number)) {
    bytes = PyNumber_AsSsize_t(number, nullptr);
  } else {
    const double given = std::floor(PyFloat_AsDouble(number));
    constexpr auto kMost = static_cast<double>(PY_SSIZE_T_MAX);
    bytes = given >= kMost ? PY_SSIZE_T_MAX : given >= 0 ? static_cast<Py_ssize_t>(given) : -1;  // less than nothing, or nan: refused
  }
  return bytes != -1 || !PyErr_Occurred();
}

}  // namespace

bool parse_water_marks(PyObject* args, PyObject* kwargs, WaterMarks& marks, const char* format) {
  static const char* names[] = {"high", "low", nullptr};
  PyObject *high_given = Py_None, *low_given = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, const_cast<char**>(names), &high_given, &low_given)) return false;
  const bool no_high = high_given == Py_None, no_low = low_given == Py_None;
  if (no_high && no_low) return true;
  Py_ssize_t low = 0, high = 0;
  if ((!no_low && !bytes_of(low_given, low)) || (!no_high && !bytes_of(high_given, high))) return false;
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
