#pragma once

#include <cstdint>
#include <unordered_map>

#include "python/ref.hpp"

namespace pyw {

struct Terms;

/// How the values of one Python type become a term. What stands before `replaced` is written as it is.
enum class Form : std::uint8_t {
  unknown,    ///< no counterpart
  integer, real, text, bytes, list, tuple, dict,  ///< also for subclasses
  buffer,     ///< bytearray, memoryview: its bytes
  items,      ///< set, range, deque, dict view, array.array: a list of what it iterates over
  opaque, atom, bitstring, improper,              ///< erlang.Pid and its like
  dataclass,  ///< `extra` is the tuple of its field names
  attribute,  ///< replaced by the attribute `extra`
  method,     ///< replaced by what the method `extra` returns
  text_of,    ///< replaced by str(value)
  user,       ///< replaced by what the registered function `extra` returns for it
};

/// Chooses the Form of a type: registered functions first (by MRO), then the defaults, last a function registered for `object`.
/// The exact types int, float, str, bytes, list, tuple, dict, bool and None never get here: their form is fixed.
/// Choices are cached per type until a registration changes. Modules that are not imported are not imported for this: without them
/// the value cannot be one of theirs. GIL: needed by everything, and it is what makes this safe from any thread.
class Encoders {
 public:
  struct Choice {
    Form form = Form::unknown;
    Ref extra;
  };

  explicit Encoders(const Terms& terms) : terms_(terms) {}

  /// Form::unknown with a pending exception: choosing failed; without: there is no counterpart.
  Choice choose(const Gil&, PyTypeObject* type);
  /// False: an exception is pending (not a class, not callable, or a class whose form is fixed).
  [[nodiscard]] bool add(const Gil&, PyObject* type, PyObject* function);
  /// False: there was none. An exception is pending if `type` is not a class.
  [[nodiscard]] bool remove(const Gil&, PyObject* type);
  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  struct Entry {
    Ref type;  ///< keeps the address from being used again
    Form form;
    Ref extra;
  };
  using Table = std::unordered_map<PyTypeObject*, Entry>;

  Choice find(const Gil&, PyTypeObject* type) const;
  Choice registered(const Gil&, PyTypeObject* type) const;
  void forget_choices();

  const Terms& terms_;
  Table registered_;
  Table chosen_;
};

}  // namespace pyw
