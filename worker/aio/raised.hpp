#pragma once

#include "python/ref.hpp"

namespace pyw::aio {

/// Whether the pending exception is one that no callback may keep to itself: it leaves the loop's run. GIL: held.
inline bool ends_the_run() { return PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt); }

/// What becomes of a run in which `pending`, if it is one, was put aside to do the rest first, which had this outcome. False: an exception is pending.
/// GIL: held.
inline bool after_the_rest(Ref pending, bool outcome) {
  if (!pending) return outcome;
  compat::restore_raised(pending.release());
  return false;
}

}  // namespace pyw::aio
