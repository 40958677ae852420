#pragma once

#include "python/gil.hpp"

namespace pyw::aio {

/// Whether the pending exception is one that no callback may keep to itself: it leaves the loop's run. GIL: held.
inline bool ends_the_run() { return PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt); }

}  // namespace pyw::aio
