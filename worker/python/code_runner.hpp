#pragma once

#include <string>
#include <unordered_map>

#include "base/bytes.hpp"
#include "python/ref.hpp"

namespace pyw {

/// eval and exec in a namespace: the context's __main__, or another one. Locals are visible everywhere in the code, also inside
/// comprehensions, lambdas and functions it defines; they do not stay in the namespace. Compiled code is cached by its text.
/// Threads: the main thread. GIL: held.
class CodeRunner {
 public:
  enum class Mode { eval, exec };

  /// Empty main(): a Python exception is pending and the object must not be used.
  explicit CodeRunner(const Gil& gil);
  PyObject* main() const { return main_.get(); }

  /// The value of the expression, or None after exec. Empty: an exception is pending. `locals` is a dict or null; `space` a dict, or null
  /// for that of __main__.
  Ref run(const Gil& gil, Bytes source, Mode mode, PyObject* locals, PyObject* space);

 private:
  Ref compiled(const Gil& gil, Bytes source, Mode mode);
  Ref run_with_locals(const Gil& gil, PyObject* code, Mode mode, PyObject* locals, PyObject* space);

  Ref main_;
  Ref namespace_;
  Ref scope_module_;  // erlang._scope, from the first call with locals on
  std::unordered_map<std::string, Ref> cache_;
};

}  // namespace pyw
