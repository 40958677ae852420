#pragma once

#include "aio/state.hpp"

namespace pyw::aio {

/// Adds `spawn`, `can_spawn` and `open_pidfd` to the module: what erlang/_subprocesses.py starts children with.
/// False: an exception is pending.
bool add_spawn_functions(const Gil& gil, PyObject* module);

}  // namespace pyw::aio
