#include "etf/reader.hpp"

#include <ei.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "etf/utf8.hpp"
#include "etf/wire.hpp"

// What erl_interface decodes here: integers, the counts of containers, latin-1 atoms. Each call starts with an index of 0 at
// the token itself, because ei's index is an int and an input may be longer than 2 GiB.
//
// What it does not, and why: binaries, strings, UTF-8 atoms and bignums are views of the input, where ei would copy them
// (ei_decode_bitstring gives a view, but reads a length of 2 GiB and more as negative); pids and their like stay encoded, so nothing
// of them has to be decoded. Floats are a load and a check, and a call for each of ten thousand of them took longer than that.

namespace pyw::etf {

bool Reader::fail(std::string why) {
  if (error_.empty()) error_ = why.empty() ? "unreadable term" : std::move(why);
  input_ = input_.first(at_);
  return false;
}

bool Reader::truncated(const char* what) {
  return fail(std::string("the input ends inside ") + what + " that begins at byte " + std::to_string(at_));
}

bool Reader::malformed(const char* why) { return fail(std::string(why) + ", at byte " + std::to_string(at_)); }

bool Reader::version() {
  if (!has(1)) return truncated("the version byte");
  if (load8(here()) != kVersion) return malformed("a term begins with the version byte 131");
  ++at_;
  return true;
}

bool Reader::enter() {
  if (depth_ >= limits_.max_depth) return fail("a term is nested deeper than " + std::to_string(limits_.max_depth) + " levels");
  ++depth_;
  return true;
}

bool Reader::skip(Bytes* encoded) {
  const std::size_t start = at_;
  const std::uint64_t promised_after = promised_ == 0 ? 0 : promised_ - 1;
  Token token;
  do {
    if (!next(token)) return false;
  } while (promised_ > promised_after);
  if (encoded) *encoded = input_.subspan(start, at_ - start);
  return true;
}

bool Reader::no_token() {
  if (!has(1)) return truncated("a term");
  return fail("a term has more than " + std::to_string(limits_.max_elements) + " elements");
}

bool Reader::too_many() {
  const std::size_t left = input_.size() - at_;
  if (promised_ > left)
    return fail("the input has " + std::to_string(left) + " bytes left at byte " + std::to_string(at_) + ", too few for " +
                std::to_string(promised_) + " elements");
  return fail("a term has more than " + std::to_string(limits_.max_elements) + " elements");
}

// The helpers of the hot kinds are inline by word: in position-independent code a compiler takes no other external function into its caller.

/// The body of a token whose header was proved. Everything behind is next.
inline bool Reader::give(Token& out, std::size_t header, std::size_t body) {
  if (!has(header + body)) [[unlikely]] return truncated("a run of bytes");
  out.bytes = input_.subspan(at_ + header, body);
  at_ += header + body;
  return true;
}

inline bool Reader::integer(Token& out) {
  const std::size_t length = load8(here()) == kSmallInteger ? 2 : 5;
  if (!has(length)) [[unlikely]] return truncated("an integer");
  int used = 0;
  long long value = 0;
  if (ei_decode_longlong(chars(here()), &used, &value) != 0) [[unlikely]] return malformed("an unreadable integer");
  out.kind = Kind::integer;
  out.integer = value;
  at_ += length;
  return true;
}

inline bool Reader::counted(Token& out, Kind kind) {
  const std::uint8_t tag = load8(here());
  const std::size_t length = tag == kSmallTuple ? 2 : 5;
  if (!has(length)) [[unlikely]] return truncated("a count");
  int used = 0;
  int count = 0;  // ei stores all 32 bits; only the type says that they are signed
  const int rc = kind == Kind::list   ? ei_decode_list_header(chars(here()), &used, &count)
                 : kind == Kind::tuple ? ei_decode_tuple_header(chars(here()), &used, &count)
                                       : ei_decode_map_header(chars(here()), &used, &count);
  if (rc != 0) [[unlikely]] return malformed("an unreadable count");
  out.kind = kind;
  out.count = static_cast<std::uint32_t>(count);
  at_ += length;
  const std::uint64_t elements = out.count;
  return promise(kind == Kind::list ? elements + 1 : kind == Kind::map ? 2 * elements : elements);
}

inline bool Reader::real(Token& out, double value, std::size_t length) {
  if (!std::isfinite(value)) [[unlikely]] return malformed("a float that is not finite");
  out.kind = Kind::real;
  out.real = value;
  at_ += length;
  return true;
}

inline bool Reader::new_float(Token& out) {
  if (!has(9)) [[unlikely]] return truncated("a float");
  return real(out, load_double(here() + 1), 9);
}

inline bool Reader::atom(Token& out, std::size_t length_bytes, bool latin1) {
  const std::size_t header = 1 + length_bytes;
  if (!has(header)) [[unlikely]] return truncated("an atom");
  const std::size_t length = length_bytes == 1 ? load8(here() + 1) : load16(here() + 1);
  if (!has(header + length)) [[unlikely]] return truncated("an atom");
  out.kind = Kind::atom;
  out.bytes = {here() + header, length};
  if (!is_ascii(out.bytes)) [[unlikely]] {
    if (latin1) return latin1_atom(out, out.bytes);
    const auto characters = utf8_length(out.bytes);
    if (!characters) return malformed("an atom that is not UTF-8");
    if (*characters > kAtomCharacters) return malformed("an atom of more than 255 characters");
  } else if (length > kAtomCharacters) [[unlikely]] {
    return malformed("an atom of more than 255 characters");
  }
  at_ += header + length;
  return true;
}

std::size_t Reader::next_reals(std::span<double> out) {
  constexpr std::size_t kSize = 9;
  std::size_t n = 0;
  for (; n < out.size() && has(kSize) && load8(here()) == kNewFloat; ++n) {
    out[n] = load_double(here() + 1);
    if (!std::isfinite(out[n]) || !begin_token()) break;
    at_ += kSize;
  }
  return n;
}

bool Reader::next(Token& out) {
  if (!begin_token()) [[unlikely]] return false;
  out = Token{};
  const std::uint8_t tag = load8(here());
  switch (tag) {
    case kSmallInteger:
    case kInteger: return integer(out);
    case kSmallAtomUtf8: return atom(out, 1, false);
    case kSmallAtom: return atom(out, 1, true);
    case kAtomUtf8: return atom(out, 2, false);
    case kAtom: return atom(out, 2, true);
    case kBinary:
      out.kind = Kind::binary;
      return has(5) ? give(out, 5, load32(here() + 1)) : truncated("a binary");
    case kNil:
      ++at_;
      return true;
    case kList: return counted(out, Kind::list);
    case kSmallTuple:
    case kLargeTuple: return counted(out, Kind::tuple);
    case kMap: return counted(out, Kind::map);
    case kNewFloat: return new_float(out);
    case kString:
      out.kind = Kind::string;
      return has(3) ? give(out, 3, load16(here() + 1)) : truncated("a string");
    case kSmallBig: return big(out, 1);
    case kLargeBig: return big(out, 4);
    case kBitBinary: return bit_binary(out);
    case kFloat: return old_float(out);
    case kPid: return opaque(out, Kind::pid, 0, 9);
    case kNewPid: return opaque(out, Kind::pid, 0, 12);
    case kPort: return opaque(out, Kind::port, 0, 5);
    case kNewPort: return opaque(out, Kind::port, 0, 8);
    case kV4Port: return opaque(out, Kind::port, 0, 12);
    case kReference: return opaque(out, Kind::reference, 0, 5);
    case kNewReference: return reference(out, 1);
    case kNewerReference: return reference(out, 4);
    case kExport: return export_fun(out);
    case kFun:
    case kNewFun: return fun(out);
    default: return refused(tag);
  }
}

/// A magnitude may have 2^32 bytes: it is handed out where it lies.
bool Reader::big(Token& out, std::size_t length_bytes) {
  if (!has(1 + length_bytes + 1)) return truncated("a large integer");
  const std::size_t length = length_bytes == 1 ? load8(here() + 1) : load32(here() + 1);
  const std::uint8_t sign = load8(here() + 1 + length_bytes);
  if (sign > 1) return malformed("the sign of a large integer is neither 0 nor 1");
  if (!give(out, 1 + length_bytes + 1, length)) return false;
  const Bytes magnitude = without_leading_zeros(out.bytes);
  out.bytes = magnitude;
  out.negative = sign == 1;
  out.kind = Kind::big;
  if (magnitude.size() > 8) return true;
  const std::uint64_t value = load_little(magnitude);
  const std::uint64_t largest = std::uint64_t{std::numeric_limits<std::int64_t>::max()} + (out.negative ? 1 : 0);
  if (value > largest) return true;
  out = Token{};
  out.kind = Kind::integer;
  out.integer = static_cast<std::int64_t>(sign == 1 ? 0 - value : value);
  return true;
}

/// 31 characters, the number in decimal and NULs behind it. Not for ei: it reads with sscanf, on to wherever the next NUL is,
/// and by the rules of the process's locale, which Python code can change.
bool Reader::old_float(Token& out) {
  constexpr std::size_t kText = 31;
  if (!has(1 + kText)) return truncated("a float");
  const char* text = chars(here() + 1);
  const char* end = std::find(text, text + kText, '\0');
  double value = 0;
  const auto [stopped, failure] = std::from_chars(text, end, value);
  if (failure != std::errc{} || stopped != end) return malformed("an unreadable float");
  return real(out, value, 1 + kText);
}

bool Reader::latin1_atom(Token& out, Bytes text) {
  if (text.size() > kAtomCharacters) return malformed("an atom of more than 255 characters");
  int used = 0;
  erlang_char_encoding was{};
  if (ei_decode_atom_as(chars(here()), &used, chars(converted_.data()), static_cast<int>(converted_.size()), ERLANG_UTF8, &was, nullptr) != 0)
    return malformed("an unreadable atom");
  at_ += static_cast<std::size_t>(used);
  const auto wide = std::count_if(text.begin(), text.end(), [](std::byte b) { return (b & std::byte{0x80}) != std::byte{0}; });
  out.bytes = {converted_.data(), text.size() + static_cast<std::size_t>(wide)};
  return true;
}

bool Reader::bit_binary(Token& out) {
  if (!has(6)) return truncated("a bitstring");
  const std::uint32_t length = load32(here() + 1);
  const std::uint8_t bits = load8(here() + 5);
  if (bits > 8 || (bits == 0) != (length == 0)) return malformed("a bitstring whose number of last bits does not fit its length");
  out.kind = bits == 0 || bits == 8 ? Kind::binary : Kind::bitstring;
  if (out.kind == Kind::bitstring) out.last_bits = bits;
  return give(out, 6, length);
}

bool Reader::refused(std::uint8_t tag) {
  switch (tag) {
    case kCompressed: return malformed("a compressed term (tag 80, COMPRESSED), which is not accepted");
    case kDistributionHeader: return malformed("a distribution header (tag 68), which is not accepted");
    case kDistributionFragment: return malformed("a fragment of a distribution message (tag 69), which is not accepted");
    case kAtomCacheRef: return malformed("a reference to a distribution's atom cache (tag 82, ATOM_CACHE_REF), which is not accepted");
    case kLocal: return malformed("a term in its node's own format (tag 121, LOCAL_EXT), which is not accepted");
    default: return fail("an unknown tag, " + std::to_string(tag) + ", at byte " + std::to_string(at_));
  }
}

}  // namespace pyw::etf
