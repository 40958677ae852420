#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "python/ref.hpp"

namespace pyw {

/// One step on the way from the root of a value to the place that is being converted: a list on the C stack, read only when
/// something is wrong. Borrows everything.
struct Step {
  enum class Kind : std::uint8_t {
    index,  ///< [index]
    value,  ///< the value under `key`
    key,    ///< the key itself, the index-th of its map
    field,  ///< the attribute `key` (a str)
    tail,   ///< of an improper list
  };
  const Step* up = nullptr;
  Kind kind = Kind::index;
  Py_ssize_t index = 0;
  PyObject* key = nullptr;
};

/// Like `result[2].key`, `args[0]["two words"]`, `locals.x.keys()[3]`; long ones are cut in the middle. Leaves no exception behind and
/// runs no code of the user: the repr of a key is shown only where the key's type is a plain one.
std::string path_text(const Gil&, std::string_view root, const Step* last);

/// `module.Name` of a type, without `builtins.`. Leaves no exception behind.
std::string type_name(const Gil&, PyTypeObject* type);

}  // namespace pyw
