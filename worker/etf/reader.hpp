#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/bytes.hpp"

namespace pyw::etf {

struct Limits {
  std::uint32_t max_depth = 1024;
  std::uint64_t max_elements = 64u << 20;  ///< tokens in one term, all levels together
};

enum class Kind : std::uint8_t {
  integer,    ///< fits std::int64_t: `integer`
  big,        ///< does not: `negative`, magnitude little-endian in `bytes`
  real,       ///< `real`
  atom,       ///< `bytes` is its text in UTF-8, whatever the wire form was
  binary,     ///< `bytes`
  bitstring,  ///< `bytes`; of the last byte only the first `last_bits` (1..7) count
  string,     ///< STRING_EXT: a list of integers 0..255, which are `bytes`
  nil,        ///< []
  list,       ///< `count` elements follow, then the tail (nil for a proper list)
  tuple,      ///< `count` elements follow
  map,        ///< `count` pairs follow, key then value
  pid, port, reference, fun, export_,  ///< opaque: `bytes` is the whole encoded term, without version byte
};

struct Token {
  Kind kind = Kind::nil;
  bool negative = false;
  std::uint8_t last_bits = 8;
  std::uint32_t count = 0;
  std::int64_t integer = 0;
  double real = 0;
  Bytes bytes{};  ///< borrowed from the input, or (atoms that had to be converted) from the reader until its next next()
};

/// A cursor over one encoded term: hands out a token at a time and never allocates. Every byte of a token is proved present before
/// erl_interface looks at it; a count is refused when the rest of the input could not hold that many elements, so a caller may
/// reserve what a count says. Compressed terms are refused.
/// Lifetime: borrows the input. Threads: not synchronised. GIL: not needed.
class Reader {
 public:
  explicit Reader(Bytes input, Limits limits = {}) : input_(input), limits_(limits) {}

  /// Reads the version byte 131. False: error() says why; the reader stays failed.
  [[nodiscard]] bool version();
  /// The next token. False: error() says why; the reader stays failed.
  [[nodiscard]] bool next(Token& out);
  /// Steps over one whole term, however deep (no recursion). `encoded`, if wanted, becomes its bytes without version byte.
  [[nodiscard]] bool skip(Bytes* encoded = nullptr);

  /// Called by who descends into a list, tuple or map. False: deeper than the limit allows, error() says so.
  [[nodiscard]] bool enter();
  void leave() { --depth_; }

  std::size_t offset() const { return at_; }
  bool at_end() const { return at_ == input_.size(); }
  const std::string& error() const { return error_; }
  /// For callers that find a semantic mistake: fails the reader with their words. Always false.
  bool fail(std::string why);

 private:
  Bytes input_;
  Limits limits_;
  std::size_t at_ = 0;
  std::uint32_t depth_ = 0;
  std::uint64_t elements_ = 0;
  std::array<std::byte, 1024> converted_{};
  std::string error_;
};

}  // namespace pyw::etf
