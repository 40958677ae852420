#pragma once

#include "python/compat.hpp"

#include <cstddef>

namespace pyw::aio {

/// When a protocol is told to pause, and to go on, in bytes that wait.
struct WaterMarks {
  std::size_t high = 64u << 10;
  std::size_t low = 16u << 10;
};

/// What (high=None, low=None) means, which is asyncio's rule: the one that is missing follows from the other; without both, `marks` stays as it
/// is. `format`: two optional arguments, and the name of the method. False: an exception is pending.
bool parse_water_marks(PyObject* args, PyObject* kwargs, WaterMarks& marks, const char* format = "|OO:set_write_buffer_limits");

/// (low, high). New reference; null: an exception is pending.
PyObject* as_python(const WaterMarks& marks);

}  // namespace pyw::aio
