#include "etf/writer.hpp"

#include <ei.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>

#include "base/check.hpp"
#include "etf/wire.hpp"

// What erl_interface encodes here: the headers of large tuples, lists and maps. What it does not, and why: integers, because it
// takes the SMALL_BIG form from 28 bits on and term_to_binary from 33; atoms and binaries, because the caller has checked the ones and
// the others would need memory that is filled with zeros first; bignums, which need GMP there; floats, which are one store.

namespace pyw::etf {
namespace {

constexpr std::uint64_t kLargestLength = std::numeric_limits<std::uint32_t>::max();

/// Longer bodies go to the buffer's end by insert(), which fills nothing with zeros first; up to here one resize() is quicker.
constexpr std::size_t kShortBody = 128;

}  // namespace

void Writer::overflow() {
  overflowed_ = true;
  total_ = limit_ + 1;  // only a limit below the largest number can be passed
}

/// Accounts for n bytes, or overflows.
inline bool Writer::room(std::uint64_t n) {
  if (overflowed_ || n > limit_ - total_) [[unlikely]] {
    if (!overflowed_) overflow();
    return false;
  }
  total_ += n;
  return true;
}

void Writer::exhaust() {
  exhausted_ = true;
  overflow();
}

/// Memory for n more bytes, or overflows.
inline bool Writer::reserve(std::size_t n) {
  const std::size_t wanted = buffer_.size() + n;
  return wanted <= buffer_.capacity() || enlarge(wanted);
}

/// Whoever encodes stands between frames of Python, through which no exception of C++ may pass.
bool Writer::enlarge(std::size_t wanted) {
  try {
    buffer_.reserve(std::max({wanted, 2 * buffer_.capacity(), std::size_t{256}}));
    return true;
  } catch (const std::bad_alloc&) {
    exhaust();
    return false;
  }
}

/// n more bytes, zero for now; null when there is no room. For short runs.
inline std::byte* Writer::grow(std::size_t n) {
  if (!room(n) || !reserve(n)) [[unlikely]] return nullptr;
  const std::size_t at = buffer_.size();
  buffer_.resize(at + n);
  return buffer_.data() + at;
}

/// A header whose size is known to the compiler, and a body.
template <std::size_t N>
inline void Writer::append(const std::array<std::byte, N>& header, Bytes body) {
  if (body.size() <= kShortBody) {
    std::byte* at = grow(N + body.size());
    if (!at) return;
    std::copy_n(header.data(), N, at);
    if (!body.empty()) std::memcpy(at + N, body.data(), body.size());
    return;
  }
  if (!room(std::uint64_t{N} + body.size()) || !reserve(N + body.size())) return;
  buffer_.insert(buffer_.end(), header.begin(), header.end());
  buffer_.insert(buffer_.end(), body.begin(), body.end());
}

inline void Writer::one(std::uint8_t byte) {
  if (room(1) && reserve(1)) buffer_.push_back(std::byte{byte});
}

/// The commonest tokens have two bytes; two push_back() take half the time of resize().
inline void Writer::two(std::uint8_t tag, std::uint8_t value) {
  if (!room(2) || !reserve(2)) [[unlikely]] return;
  buffer_.push_back(std::byte{tag});
  buffer_.push_back(std::byte{value});
}

void Writer::version() { one(kVersion); }

void Writer::integer(std::int64_t value) {
  if (value >= 0 && value <= 255) {
    two(kSmallInteger, static_cast<std::uint8_t>(value));
  } else if (value >= std::numeric_limits<std::int32_t>::min() && value <= std::numeric_limits<std::int32_t>::max()) {
    if (std::byte* at = grow(5)) {
      store8(at, kInteger);
      store32(at + 1, static_cast<std::uint32_t>(value));
    }
  } else {
    std::array<std::byte, 8> little;
    const auto bits = static_cast<std::uint64_t>(value);
    const std::uint64_t size = value < 0 ? 0 - bits : bits;
    for (std::size_t i = 0; i < little.size(); ++i) store8(&little[i], static_cast<std::uint8_t>(size >> (8 * i)));
    magnitude(value < 0, without_leading_zeros(little));
  }
}

void Writer::unsigned_integer(std::uint64_t value) {
  if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return integer(static_cast<std::int64_t>(value));
  std::array<std::byte, 8> little;
  for (std::size_t i = 0; i < little.size(); ++i) store8(&little[i], static_cast<std::uint8_t>(value >> (8 * i)));
  magnitude(false, little);
}

void Writer::big(bool negative, Bytes bytes) {
  const Bytes trimmed = without_leading_zeros(bytes);
  if (trimmed.size() > 8) return magnitude(negative, trimmed);
  const std::uint64_t value = load_little(trimmed);
  if (value > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) return magnitude(negative, trimmed);
  integer(static_cast<std::int64_t>(negative ? 0 - value : value));
}

void Writer::magnitude(bool negative, Bytes trimmed) {
  if (trimmed.size() > kLargestLength) return overflow();
  const std::byte sign{negative};
  if (trimmed.size() <= 255) return append(std::array{std::byte{kSmallBig}, static_cast<std::byte>(trimmed.size()), sign}, trimmed);
  std::array<std::byte, 6> header{std::byte{kLargeBig}};
  store32(&header[1], static_cast<std::uint32_t>(trimmed.size()));
  header[5] = sign;
  append(header, trimmed);
}

void Writer::real(double value) {
  PYW_CHECK(std::isfinite(value), "a float on its way to Erlang is finite");
  std::byte* at = grow(9);
  if (!at) return;
  store8(at, kNewFloat);
  store_double(at + 1, value);
}

void Writer::reals(std::span<const double> values) {
  std::byte* at = grow(9 * values.size());
  if (!at) return;
  for (const double value : values) {
    PYW_CHECK(std::isfinite(value), "a float on its way to Erlang is finite");
    store8(at, kNewFloat);
    store_double(at + 1, value);
    at += 9;
  }
}

void Writer::atom(std::string_view utf8) {
  const std::size_t size = utf8.size();
  PYW_CHECK(size <= kAtomBytes, "an atom has at most 255 characters");
  if (size <= 255) return append(std::array{std::byte{kSmallAtomUtf8}, static_cast<std::byte>(size)}, bytes_of(utf8));
  append(std::array{std::byte{kAtomUtf8}, static_cast<std::byte>(size >> 8), static_cast<std::byte>(size & 255)}, bytes_of(utf8));
}

void Writer::binary(Bytes bytes) {
  if (bytes.size() > kLargestLength) return overflow();
  std::array<std::byte, 5> header{std::byte{kBinary}};
  store32(&header[1], static_cast<std::uint32_t>(bytes.size()));
  append(header, bytes);
}

void Writer::binary_reference(Bytes bytes, Lease lease) {
  if (bytes.empty()) return binary(bytes);
  if (bytes.size() > kLargestLength) return overflow();
  if (!room(std::uint64_t{5} + bytes.size()) || !reserve(5)) return;
  std::array<std::byte, 5> header{std::byte{kBinary}};
  store32(&header[1], static_cast<std::uint32_t>(bytes.size()));
  buffer_.insert(buffer_.end(), header.begin(), header.end());
  refer(bytes, std::move(lease));
}

void Writer::refer(Bytes bytes, Lease lease) {
  try {
    references_.push_back({buffer_.size(), bytes, std::move(lease)});
  } catch (const std::bad_alloc&) {
    exhaust();
  }
}

void Writer::bitstring(Bytes bytes, std::uint8_t last_bits) {
  PYW_CHECK(!bytes.empty() && last_bits >= 1 && last_bits <= 7, "a bitstring ends in a part of a byte");
  if (bytes.size() > kLargestLength) return overflow();
  std::array<std::byte, 6> header{std::byte{kBitBinary}};
  store32(&header[1], static_cast<std::uint32_t>(bytes.size()));
  store8(&header[5], last_bits);
  append(header, bytes);
  // The bits that do not count are zero in what term_to_binary writes: equal bitstrings have equal bytes.
  if (!overflowed_) buffer_.back() &= static_cast<std::byte>(0xFF << (8 - last_bits));
}

void Writer::nil() { one(kNil); }

void Writer::list(std::uint32_t count) {
  PYW_CHECK(count >= 1 && count <= std::numeric_limits<int>::max(), "a list with a header has elements");
  int used = 0;
  if (std::byte* at = grow(5)) ei_encode_list_header(chars(at), &used, static_cast<int>(count));
}

void Writer::tuple(std::uint32_t arity) {
  if (arity <= 255) return two(kSmallTuple, static_cast<std::uint8_t>(arity));
  PYW_CHECK(arity <= std::numeric_limits<int>::max(), "a tuple that fits into memory");
  int used = 0;
  if (std::byte* at = grow(5)) ei_encode_tuple_header(chars(at), &used, static_cast<int>(arity));
}

void Writer::map(std::uint32_t pairs) {
  PYW_CHECK(pairs <= std::numeric_limits<int>::max(), "a map that fits into memory");
  int used = 0;
  if (std::byte* at = grow(5)) ei_encode_map_header(chars(at), &used, static_cast<int>(pairs));
}

std::size_t Writer::open_list() {
  if (std::byte* at = grow(5)) store8(at, kList);
  return buffer_.size();
}

void Writer::close_list(std::size_t opened, std::uint32_t count) {
  if (overflowed_) return;
  PYW_CHECK(opened >= 5 && opened <= buffer_.size() && buffer_[opened - 5] == std::byte{kList}, "the list that is closed was opened");
  if (count != 0 || opened != buffer_.size()) return store32(buffer_.data() + opened - 4, count);
  buffer_.resize(opened - 5);
  total_ -= 5;
}

void Writer::raw_reference(Bytes encoded, Lease lease) {
  if (room(encoded.size())) refer(encoded, std::move(lease));
}

void Writer::raw(Bytes encoded) { append(std::array<std::byte, 0>{}, encoded); }

void Writer::plain(Bytes bytes) { append(std::array<std::byte, 0>{}, bytes); }

void Writer::rollback(const Mark& mark) {
  PYW_CHECK(mark.size <= buffer_.size() && mark.references <= references_.size(), "a mark lies before what is taken back");
  buffer_.resize(mark.size);
  references_.erase(references_.begin() + static_cast<std::ptrdiff_t>(mark.references), references_.end());
  total_ = mark.total;
  overflowed_ = total_ > limit_;
  exhausted_ = exhausted_ && overflowed_;
}

void Writer::clear() {
  if (exhausted_)
    buffer_ = {};
  else
    buffer_.clear();
  references_.clear();
  total_ = 0;
  overflowed_ = exhausted_ = false;
}

}  // namespace pyw::etf
