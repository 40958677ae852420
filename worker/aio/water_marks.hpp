#pragma once

#include "python/compat.hpp"

#include <cstddef>

namespace pyw::aio {

/// When a protocol is told to pause, and to go on, in bytes that wait.
struct WaterMarks {
  std::size_t high = 64u << 10;
  std::size_t low = 16u << 10;
};

/// What (high=None, low=None) of set_write_buffer_limits means, which is asyncio's rule. False: an exception is pending.
bool parse_water_marks(PyObject* args, PyObject* kwargs, WaterMarks& marks);

}  // namespace pyw::aio
