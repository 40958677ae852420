#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/lease.hpp"

namespace pyw::etf {

/// Appends ETF tokens to a growing buffer. Large binaries can be referred to instead of copied: the result is then a list of
/// pieces for writev. Past `limit` bytes (buffer and references together) it stops growing and overflowed() is true for ever; no call fails before.
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

  explicit Writer(std::uint64_t limit) : limit_(limit) {}

  void version();
  void integer(std::int64_t value);
  void unsigned_integer(std::uint64_t value);
  /// Magnitude little-endian; leading zero bytes (at its end) are left out; what fits 64 bits may come too.
  void big(bool negative, Bytes magnitude);
  void real(double value);
  /// At most 255 characters and 1020 bytes of UTF-8 (the caller checks).
  void atom(std::string_view utf8);
  void boolean(bool value) { atom(value ? "true" : "false"); }
  void binary(Bytes bytes);
  void binary(std::string_view text) { binary(bytes_of(text)); }
  /// Like binary(), but the bytes stay where they are; `lease` keeps them there.
  void binary_reference(Bytes bytes, Lease lease);
  /// `last_bits` 1..7 of the last byte count.
  void bitstring(Bytes bytes, std::uint8_t last_bits);
  void nil();
  /// `count` elements follow, then the tail: nil() for a proper list. With count 0 write nil() instead.
  void list(std::uint32_t count);
  void tuple(std::uint32_t arity);
  void map(std::uint32_t pairs);
  /// A list whose length is known only at the end. Returns what close_list wants.
  [[nodiscard]] std::size_t open_list();
  void close_list(std::size_t opened, std::uint32_t count);
  /// Bytes of one whole term without version byte, such as an opaque token's.
  void raw(Bytes encoded);
  /// Plain bytes that are no term (a frame header, say).
  void plain(Bytes bytes);

  Mark mark() const { return {buffer_.size(), references_.size(), total_}; }
  /// Forgets all that was written since the mark (and whether that overflowed).
  void rollback(const Mark& mark);

  bool overflowed() const { return overflowed_; }
  std::uint64_t size() const { return total_; }
  const std::vector<std::byte>& buffer() const { return buffer_; }
  std::vector<std::byte>& buffer() { return buffer_; }
  std::vector<Reference>& references() { return references_; }
  void clear();

 private:
  std::byte* grow(std::size_t n);

  std::uint64_t limit_;
  std::uint64_t total_ = 0;
  bool overflowed_ = false;
  std::vector<std::byte> buffer_;
  std::vector<Reference> references_;
};

}  // namespace pyw::etf
