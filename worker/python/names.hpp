#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "etf/reader.hpp"
#include "python/interrupt.hpp"
#include "python/ref.hpp"

namespace pyw {

/// A name as the BEAM sends it: an atom, a binary or a list of bytes, all UTF-8. False: `why` says what came instead.
bool read_name(etf::Reader& in, std::string_view what, std::string& out, std::string& why);

/// Splits at dots into Python strings, interned ones if they are short. Empty: an exception is pending, or a part was empty and `why` says so.
std::vector<Ref> split_name(const Gil& gil, std::string_view name, std::string& why);

/// Walks `object` along the attributes. Empty: an exception is pending.
Ref attribute_path(const Gil& gil, Ref object, const std::vector<Ref>& names);

/// What a call names: a module and a path of attributes in it.
struct Target {
  Ref module;
  std::vector<Ref> path;
};

/// Remembers names by the bytes they were encoded as, so that a hot call neither decodes nor interns them again. Names only: the module
/// and the function are looked up each time, for they may be redefined.
/// GIL: needed by everything.
class TargetCache {
 public:
  /// Reads two names. Null: `why` says what is wrong with the request, or it is empty and an exception is pending.
  /// A share of it, because whoever uses it may run code that comes back here.
  std::shared_ptr<const Target> find(const Gil& gil, etf::Reader& in, std::string& why);
  /// The callable. Empty: an exception is pending (ImportError, AttributeError).
  /// An import is not interrupted; an interrupt that came meanwhile is what it ends with.
  static Ref resolve(const Gil& gil, const Target& target, InterruptPoint& interrupts);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, std::shared_ptr<const Target>, Hash, std::equal_to<>> targets_;
};

}  // namespace pyw
