#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "etf/reader.hpp"
#include "etf/writer.hpp"
#include "python/encoders.hpp"
#include "python/handles.hpp"
#include "python/ref.hpp"
#include "python/terms.hpp"

namespace pyw {

struct Step;

struct TypeOptions {
  enum class Atoms : std::uint8_t { str, atom };
  enum class Binaries : std::uint8_t { automatic, bytes, str };
  Atoms atoms = Atoms::str;
  Binaries binaries = Binaries::automatic;  ///< automatic: str if it is UTF-8, else bytes
  std::string none = "none";                ///< the atom that None becomes: "none", "nil" or "undefined"
  std::uint64_t incarnation = 0;            ///< object references of another one are refused
  etf::Limits limits{};
};

/// Why a value could not be converted, and where it is.
struct BadTerm {
  enum class Kind : std::uint8_t {
    term,       ///< {bad_term, Path, Why}
    reference,  ///< {bad_ref, Why}: an object reference of another incarnation, or one that was released
  };
  Kind kind = Kind::term;
  std::string path;
  std::string why;
  /// Something is in it.
  explicit operator bool() const { return !why.empty(); }
};

/// Remembers short ASCII texts that come again and again (atoms, keys of maps) as the str they became: no allocation, and the hash
/// is known already. Of fixed size; a newcomer takes the place of whoever was there. GIL: needed by everything.
class TextCache {
 public:
  static constexpr std::size_t kMaxSize = 40;  ///< bytes; longer ones are not kept
  /// New reference: a str. Null: an exception is pending. `text` is valid UTF-8 or the exception says so.
  PyObject* get(Bytes text);

 private:
  std::array<Ref, 2048> slots_;
};

/// Converts between encoded terms and Python objects, both ways straight between the bytes and the objects.
/// What becomes what: docs/types.md. Nothing is ever turned into its str() or repr() unless that table says so.
/// Threads: any, one at a time: the GIL, needed by everything here, sees to that. Owns its caches; one per interpreter.
class Codec {
 public:
  /// A level costs up to 0.75 KiB of stack (twice that under AddressSanitizer): with this it is less than half of the usual 8 MiB.
  static constexpr std::uint32_t kMaxDepth = 4096;

  /// Imports the built-in module `_erlang` for the types of terms and the registered encoders.
  /// Err: python (what failed), bad_config (max_depth over kMaxDepth, an unknown `none`). `handles` must outlive it.
  static Result<std::unique_ptr<Codec>> make(const Gil&, TypeOptions, Handles&);
  /// For the module itself, which owns `terms` and `encoders`; both must outlive it.
  Codec(TypeOptions, Handles&, const Terms&, Encoders&, Ref keep_alive);

  /// Reads one term (without version byte) off the reader. Empty: `bad` says why, or, if it is empty, a Python exception is pending.
  /// `root` names the value in paths, like "args".
  Ref decode(const Gil&, etf::Reader&, std::string_view root, BadTerm& bad);
  /// Writes one term (without version byte). False likewise; what was written so far the caller rolls back. Bytes of 64 KiB and more are
  /// referred to, not copied: such a lease must end under the GIL. Where the writer is exhausted, MemoryError is pending. May run Python code: registered encoders, isoformat() and such.
  /// `at` is where below the root the value is.
  bool encode(const Gil&, PyObject* value, etf::Writer&, std::string_view root, BadTerm& bad, const Step* at = nullptr);

  const TypeOptions& options() const { return options_; }
  const Terms& terms() const { return terms_; }

 private:
  friend class FromEtf;
  friend class ToEtf;

  Ref keep_alive_;  ///< the module that owns the next two; first, so that it goes last
  const Terms& terms_;
  Encoders& encoders_;
  Handles& handles_;
  TypeOptions options_;
  TextCache texts_;
  Ref atoms_;  ///< dict: name -> erlang.Atom; with Atoms::atom only
};

}  // namespace pyw
