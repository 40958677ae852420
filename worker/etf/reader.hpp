#pragma once

#include <array>
#include <span>
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
  Bytes bytes{};  ///< borrowed from the input, or (atoms that had to be converted) from the reader until its next next() or skip()
};

/// A cursor over one encoded term: hands out a token at a time. Every byte of a token is proved present before
/// erl_interface looks at it. Compressed terms are refused, and numbers that are not finite. It allocates nothing but the text of
/// an error and, for a fun that captured a fun, a stack.
/// Invariant: the terms that all counts so far promise and that have not come yet are never more than the bytes that are left.
/// So a caller may reserve what a count says: all reservations that are open at one time add up to less than the input's size.
/// Each next() and each skip() takes one promised term; read every element, and the tail of a list.
/// Lifetime: borrows the input. Threads: not synchronised. GIL: not needed.
class Reader {
 public:
  explicit Reader(Bytes input, Limits limits = {}) : input_(input), limits_(limits) {}  // converted_ stays unset: it costs too much

  /// Reads the version byte 131. False: error() says why; the reader stays failed.
  [[nodiscard]] bool version();
  /// The next token. False: error() says why; the reader stays failed.
  [[nodiscard]] bool next(Token& out);
  /// Steps over one whole term, however deep (no recursion; max_depth does not apply, max_elements does). `encoded`, if wanted,
  /// becomes its bytes without version byte.
  [[nodiscard]] bool skip(Bytes* encoded = nullptr);

  /// Called by who descends into a list, tuple or map. False: deeper than the limit allows, error() says so.
  [[nodiscard]] bool enter();
  void leave() { --depth_; }

  std::size_t offset() const { return at_; }
  /// Everything was read, and nothing failed.
  bool at_end() const { return at_ == input_.size() && error_.empty(); }
  const std::string& error() const { return error_; }
  /// For callers that find a semantic mistake: fails the reader with their words. Always false. The first failure is the one that error() keeps.
  bool fail(std::string why);

  /// Reads up to `out.size()` floats that follow one another, and says how many; stops at whatever else comes, or at a float that next() would
  /// refuse. The same as as many calls of next(), for the lists of thousands of floats that vectors are.
  std::size_t next_reals(std::span<double> out);

 private:
  struct OpenFun;

  bool has(std::size_t n) const { return input_.size() - at_ >= n; }
  const std::byte* here() const { return input_.data() + at_; }
  /// Proves a tag and accounts for the term.
  bool begin_token() {
    if (!has(1) || elements_ >= limits_.max_elements) [[unlikely]] return no_token();
    ++elements_;
    if (promised_ != 0) --promised_;
    return true;
  }
  /// Takes note of the terms that a count announces. at_ stands behind the count. Every term takes a byte at least.
  bool promise(std::uint64_t terms) {
    promised_ += terms;  // no overflow: it was no more than the input's size, and a count has 32 bits
    if (promised_ > input_.size() - at_ || promised_ > limits_.max_elements - elements_) [[unlikely]] return too_many();
    return true;
  }
  bool no_token();
  bool too_many();
  bool give(Token& out, std::size_t header, std::size_t body);
  bool integer(Token& out);
  bool big(Token& out, std::size_t length_bytes);
  bool new_float(Token& out);
  bool old_float(Token& out);
  bool real(Token& out, double value, std::size_t length);
  bool atom(Token& out, std::size_t length_bytes, bool latin1);
  bool latin1_atom(Token& out, Bytes text);
  bool counted(Token& out, Kind kind);
  bool bit_binary(Token& out);
  bool opaque(Token& out, Kind kind, std::size_t before_node, std::size_t after_node);
  bool reference(Token& out, std::size_t creation_bytes);
  bool export_fun(Token& out);
  bool fun(Token& out);
  bool open_fun(OpenFun& open);
  bool fun_header(std::size_t& fixed, std::uint32_t& captured, std::size_t& end);
  bool field(Kind wanted);
  bool refused(std::uint8_t tag);
  bool truncated(const char* what);
  bool malformed(const char* why);

  Bytes input_;  ///< ends at at_ once failed, so that nothing is left to read
  Limits limits_;
  std::size_t at_ = 0;
  std::uint32_t depth_ = 0;
  std::uint64_t elements_ = 0;
  std::uint64_t promised_ = 0;            ///< terms that counts have announced and that have not come yet
  std::array<std::byte, 512> converted_;  ///< 255 latin-1 characters in UTF-8, and the NUL that ei adds
  std::string error_;
};

}  // namespace pyw::etf
