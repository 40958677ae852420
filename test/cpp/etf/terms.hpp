#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "etf/reader.hpp"
#include "etf/writer.hpp"

/// What the ETF tests and the fuzz targets do with whole terms: walk them token by token, tell the tokens as text, copy them.
namespace terms {

using pyw::Bytes;
using pyw::etf::Kind;
using pyw::etf::Reader;
using pyw::etf::Token;
using pyw::etf::Writer;

/// How many terms belong to this token.
inline std::uint64_t parts(const Token& token) {
  switch (token.kind) {
    case Kind::list: return std::uint64_t{token.count} + 1;
    case Kind::tuple: return token.count;
    case Kind::map: return 2 * std::uint64_t{token.count};
    default: return 0;
  }
}

/// Hands every token of one term to `see`, without recursion.
template <class See>
bool walk(Reader& in, See see) {
  std::uint64_t left = 1;
  Token token;
  while (left > 0) {
    if (!in.next(token)) return false;
    left += parts(token);
    --left;
    see(token);
  }
  return true;
}

inline void copy_token(const Token& token, Writer& out) {
  switch (token.kind) {
    case Kind::integer: return out.integer(token.integer);
    case Kind::big: return out.big(token.negative, token.bytes);
    case Kind::real: return out.real(token.real);
    case Kind::atom: return out.atom(pyw::text_of(token.bytes));
    case Kind::binary: return out.binary(token.bytes);
    case Kind::bitstring: return out.bitstring(token.bytes, token.last_bits);
    case Kind::string: {
      const auto size = token.bytes.size();
      out.plain(std::array{std::byte{107}, static_cast<std::byte>(size >> 8), static_cast<std::byte>(size & 0xFF)});
      return out.plain(token.bytes);
    }
    case Kind::nil: return out.nil();
    case Kind::list:
      if (token.count != 0) out.list(token.count);  // of none only the tail is written
      return;
    case Kind::tuple: return out.tuple(token.count);
    case Kind::map: return out.map(token.count);
    default: return out.raw(token.bytes);
  }
}

/// A version byte and one term, and nothing behind it.
inline bool copy(Reader& in, Writer& out) {
  out.version();
  return in.version() && walk(in, [&](const Token& token) { copy_token(token, out); }) && in.at_end();
}

inline std::string hex(Bytes bytes) {
  std::string text;
  for (std::byte b : bytes) {
    constexpr const char* digits = "0123456789ABCDEF";
    text += digits[std::to_integer<int>(b) >> 4];
    text += digits[std::to_integer<int>(b) & 15];
  }
  return text;
}

/// As the golden vectors have it: length and content, of a long run its checksum.
inline std::string run(Bytes bytes) {
  if (bytes.size() <= 64) return std::to_string(bytes.size()) + ":" + hex(bytes);
  std::uint32_t a = 1, b = 0;
  for (std::byte byte : bytes) {
    a = (a + std::to_integer<std::uint32_t>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  return std::to_string(bytes.size()) + ":adler" + std::to_string(b << 16 | a);
}

inline std::string tell(const Token& token) {
  switch (token.kind) {
    case Kind::integer: return "i:" + std::to_string(token.integer);
    case Kind::big: return std::string("B:") + (token.negative ? "-" : "+") + hex(token.bytes);
    case Kind::real: {
      auto bits = std::bit_cast<std::uint64_t>(token.real);
      std::array<std::byte, 8> big_endian;
      for (std::size_t i = 8; i-- > 0; bits >>= 8) big_endian[i] = static_cast<std::byte>(bits & 0xFF);
      return "r:" + hex(big_endian);
    }
    case Kind::atom: return "a:" + hex(token.bytes);
    case Kind::binary: return "b:" + run(token.bytes);
    case Kind::bitstring: {
      std::vector<std::byte> bytes(token.bytes.begin(), token.bytes.end());
      bytes.back() &= static_cast<std::byte>(0xFF << (8 - token.last_bits));
      return "bits:" + std::to_string(token.last_bits) + ":" + run(bytes);
    }
    case Kind::string: return "s:" + run(token.bytes);
    case Kind::nil: return "[]";
    case Kind::list: return "l/" + std::to_string(token.count);
    case Kind::tuple: return "t/" + std::to_string(token.count);
    case Kind::map: return "m/" + std::to_string(token.count);
    case Kind::pid: return "pid:" + run(token.bytes);
    case Kind::port: return "port:" + run(token.bytes);
    case Kind::reference: return "reference:" + run(token.bytes);
    case Kind::fun: return "fun:" + run(token.bytes);
    case Kind::export_: return "export:" + run(token.bytes);
  }
  return "?";
}

/// All tokens of an encoded term with version byte, or why there are none.
struct Told {
  bool ok = false;
  std::string tokens;
  std::string error;
};

inline Told tell_all(Bytes input, pyw::etf::Limits limits = {}) {
  Told told;
  Reader in(input, limits);
  told.ok = in.version() && walk(in, [&](const Token& token) { told.tokens += (told.tokens.empty() ? "" : " ") + tell(token); }) && in.at_end();
  told.error = in.error();
  return told;
}

/// A copy in a block of exactly its size, so that AddressSanitizer sees the first byte read behind it.
class Exact {
 public:
  explicit Exact(Bytes bytes) : size_(bytes.size()), block_(new std::byte[bytes.size()]) {
    if (size_ != 0) std::memcpy(block_.get(), bytes.data(), size_);
  }
  std::byte& operator[](std::size_t i) { return block_[i]; }
  Bytes get() const { return {block_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<std::byte[]> block_;
};

}  // namespace terms
