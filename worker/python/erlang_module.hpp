#pragma once

#include <cstdint>
#include <limits>
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
/// binary_to_term with default options, the encoders, and call functions that raise RuntimeError.
struct ModuleHooks {
  Codec* codec = nullptr;   ///< used by term_to_binary and binary_to_term; null: the module's own. Must outlive the interpreter
  void* context = nullptr;  ///< the Outcalls behind call_op and its like; null: they say that there is no Erlang
  std::uint64_t max_frame = std::numeric_limits<std::uint32_t>::max();
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

/// Raises TermError with .path; returns null.
PyObject* raise_term_error(const Terms& terms, const BadTerm& bad);

/// Defined with Outcalls: adds call_op and its like. False: an exception is pending.
bool add_outcall_functions(const Gil&, PyObject* module);

/// Imports `_erlang` and gives it the hooks. Err: python.
Result<void> attach(const Gil&, const ModuleHooks&);

}  // namespace pyw
