#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/lease.hpp"

namespace pyw::etf {

/// Appends ETF tokens to a growing buffer. Large binaries can be referred to instead of copied: the result is then a list of
/// pieces for writev. Past `limit` bytes (buffer and references together) it stops growing and overflowed() is true for ever (until a
/// rollback() to before that, or clear()); no call fails before. A token is written whole or not at all. What has no wire form for its
/// length alone (a binary of 4 GiB) counts as past the limit, and so does what there is no memory for: exhausted() tells them apart.
/// Invariant: while nothing overflowed, size() is the buffer and the references together; afterwards it is more than the limit.
/// Threads: not synchronised. GIL: not needed (but leases may need it when they end).
class Writer {
 public:
  /// A stretch of somebody else's memory that belongs behind the first `after` bytes of the own buffer.
  struct Reference {
    std::size_t after;
    Bytes bytes;
    Lease lease;
  };
  struct Mark {
    std::size_t size;
    std::size_t references;
    std::uint64_t total;
  };

  explicit Writer(std::uint64_t limit) : limit_(std::min(limit, kNoLimit)) {}

  void version();
  void integer(std::int64_t value);
  void unsigned_integer(std::uint64_t value);
  /// Magnitude little-endian; leading zero bytes (at its end) are left out; what fits 64 bits may come too.
  void big(bool negative, Bytes magnitude);
  /// Finite (the caller checks: there is no wire form for others).
  void real(double value);
  /// The same as as many calls of real().
  void reals(std::span<const double> values);
  /// At most 255 characters and 1020 bytes of UTF-8 (the caller checks).
  void atom(std::string_view utf8);
  void boolean(bool value) { atom(value ? "true" : "false"); }
  void binary(Bytes bytes);
  void binary(std::string_view text) { binary(bytes_of(text)); }
  /// Like binary(), but the bytes stay where they are; `lease` keeps them there. Where nothing of them is kept (empty, overflowed)
  /// the lease ends at once.
  void binary_reference(Bytes bytes, Lease lease);
  /// `last_bits` 1..7 of the last byte count; there is one at least.
  void bitstring(Bytes bytes, std::uint8_t last_bits);
  void nil();
  /// `count` elements follow, then the tail: nil() for a proper list. With count 0 write nil() instead.
  void list(std::uint32_t count);
  void tuple(std::uint32_t arity);
  void map(std::uint32_t pairs);
  /// A list whose length is known only at the end. Returns what close_list wants. The tail is best written after close_list():
  /// a list that turned out to have no elements then leaves no header, as Erlang would write it.
  [[nodiscard]] std::size_t open_list();
  void close_list(std::size_t opened, std::uint32_t count);
  /// Bytes of one whole term without version byte, such as an opaque token's.
  void raw(Bytes encoded);
  /// Like raw(), as binary_reference() is like binary().
  void raw_reference(Bytes encoded, Lease lease);
  /// Plain bytes that are no term (a frame header, say).
  void plain(Bytes bytes);

  Mark mark() const { return {buffer_.size(), references_.size(), total_}; }
  /// Forgets all that was written since the mark (and whether that overflowed). Leases given since then end.
  void rollback(const Mark& mark);

  bool overflowed() const { return overflowed_; }
  /// Overflowed for want of memory.
  bool exhausted() const { return exhausted_; }
  std::uint64_t size() const { return total_; }
  const std::vector<std::byte>& buffer() const { return buffer_; }
  std::vector<std::byte>& buffer() { return buffer_; }
  std::vector<Reference>& references() { return references_; }
  /// As new, but keeps the buffer's memory, if there is enough of it. All leases end.
  void clear();

 private:
  static constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;  ///< so that limit_ + 1 is a number

  bool room(std::uint64_t n);
  void overflow();
  void exhaust();
  bool reserve(std::size_t n);
  bool enlarge(std::size_t wanted);
  void refer(Bytes bytes, Lease lease);
  std::byte* grow(std::size_t n);
  void one(std::uint8_t byte);
  void two(std::uint8_t tag, std::uint8_t value);
  template <std::size_t N>
  void append(const std::array<std::byte, N>& header, Bytes body);
  void magnitude(bool negative, Bytes trimmed);

  std::uint64_t limit_;
  std::uint64_t total_ = 0;  ///< limit_ + 1 when overflowed, so that a mark taken then says so
  bool overflowed_ = false;
  bool exhausted_ = false;
  std::vector<std::byte> buffer_;
  std::vector<Reference> references_;
};

}  // namespace pyw::etf
