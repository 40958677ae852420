#pragma once

#include "python/ref.hpp"

namespace pyw::aio {

/// What of Python's says which loop runs on a thread. Part of State.
struct RunFunctions {
  Ref get_running_loop, set_running_loop, get_hooks, set_hooks, s_firstiter, s_finalizer;

  /// False: an exception is pending.
  bool make(const Gil& gil);
};

}  // namespace pyw::aio
