#include "aio/water_marks.hpp"

namespace pyw::aio {

bool parse_water_marks(PyObject* args, PyObject* kwargs, WaterMarks& marks) {
  static const char* names[] = {"high", "low", nullptr};
  PyObject *high_given = Py_None, *low_given = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:set_write_buffer_limits", const_cast<char**>(names), &high_given, &low_given)) return false;
  const bool no_high = high_given == Py_None, no_low = low_given == Py_None;
  Py_ssize_t low = no_low ? 0 : PyNumber_AsSsize_t(low_given, PyExc_OverflowError);
  if (PyErr_Occurred()) return false;
  const Py_ssize_t high = no_high ? (no_low ? 64 * 1024 : 4 * low) : PyNumber_AsSsize_t(high_given, PyExc_OverflowError);
  if (PyErr_Occurred()) return false;
  if (no_low) low = high / 4;
  if (high < low || low < 0) {
    PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", high, low);
    return false;
  }
  marks = {static_cast<std::size_t>(high), static_cast<std::size_t>(low)};
  return true;
}

}  // namespace pyw::aio
