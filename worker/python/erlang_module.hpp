#pragma once

#include <memory>

#include "base/result.hpp"
#include "python/codec.hpp"
#include "python/encoders.hpp"
#include "python/handles.hpp"
#include "python/terms.hpp"

/// The built-in module `_erlang`; give it to PyImport_AppendInittab("_erlang", PyInit__erlang) before Python starts.
extern "C" PyObject* PyInit__erlang();

namespace pyw {

/// What a worker adds to the module once it runs. Without it (py_worker --python) the module has the terms, term_to_binary and
/// binary_to_term with default options, and the encoders.
struct ModuleHooks {
  Codec* codec = nullptr;            ///< used by term_to_binary and binary_to_term; null: the module's own. Must outlive the interpreter
  PyMethodDef* functions = nullptr;  ///< further functions (call, send, ...), ended by an empty entry; static storage. They get the module as self
  void* context = nullptr;           ///< what those functions find with module_state(gil, self).hooks.context
};

/// Everything that the module owns. GIL: needed.
struct ModuleState {
  Terms terms;
  Encoders encoders{terms};
  Handles handles;
  std::unique_ptr<Codec> own;  ///< made when first needed
  ModuleHooks hooks;
};

/// The state of `module`, which must be `_erlang`.
ModuleState& module_state(const Gil&, PyObject* module);

/// Imports `_erlang` and gives it the hooks. To be called before anybody imports the package `erlang`, which copies the names. Err: python.
Result<void> attach(const Gil&, const ModuleHooks&);

}  // namespace pyw
