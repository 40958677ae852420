#pragma once

#include "aio/loop.hpp"

/// The built-in module `_erlang_loop`; give it to PyImport_AppendInittab before Python starts. Importing it imports asyncio.
extern "C" PyObject* PyInit__erlang_loop();

namespace pyw::aio {

/// The state of the module that made `type` or a class that it derives from. Null: TypeError is pending.
State* state_behind(PyTypeObject* type);

}  // namespace pyw::aio
