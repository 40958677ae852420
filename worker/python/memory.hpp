#pragma once

#include <new>

#include "python/gil.hpp"

namespace pyw {

/// Runs `allocate`, which wants memory of C++ as large as the value at hand. False: there is none, and MemoryError is pending. It runs no
/// Python code: no exception of C++ may pass through a frame of Python.
template <class F>
bool within_memory(const Gil&, F allocate) {
  try {
    allocate();
    return true;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
}

}  // namespace pyw
