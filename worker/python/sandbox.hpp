#pragma once

#include "python/ref.hpp"

namespace pyw {

/// From now on, and for as long as this process lives, whatever in Python starts another process or becomes one (fork, exec, spawn, system,
/// subprocess) raises RuntimeError. A guard against accidents, not a wall: native code that Python can reach is not asked.
/// A second time is no error. False: an exception is pending. GIL: needed.
bool install_sandbox(const Gil&);
bool is_sandboxed();

/// Adds install_sandbox and is_sandboxed. False: an exception is pending.
bool add_sandbox_functions(const Gil&, PyObject* module);

}  // namespace pyw
