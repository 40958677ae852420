#pragma once

#include <bit>
#include <cstring>
#include <cstdint>
#include <cstring>

#include "base/bytes.hpp"

namespace pyw::etf {

/// The first byte of a term in the external term format, by the names of its specification. ei.h has most of them as macros;
/// the ones that newer releases added would be missing there, so all are here.
enum Tag : std::uint8_t {
  kVersion = 131,

  kSmallInteger = 97, kInteger = 98, kSmallBig = 110, kLargeBig = 111,
  kFloat = 99, kNewFloat = 70,
  kAtom = 100, kSmallAtom = 115, kAtomUtf8 = 118, kSmallAtomUtf8 = 119,
  kBinary = 109, kBitBinary = 77, kString = 107,
  kNil = 106, kList = 108, kSmallTuple = 104, kLargeTuple = 105, kMap = 116,
  kPid = 103, kNewPid = 88, kPort = 102, kNewPort = 89, kV4Port = 120,
  kReference = 101, kNewReference = 114, kNewerReference = 90,
  kFun = 117, kNewFun = 112, kExport = 113,

  // Known, and refused by name.
  kCompressed = 80, kDistributionHeader = 68, kDistributionFragment = 69, kAtomCacheRef = 82, kLocal = 121,
};

inline constexpr std::size_t kAtomCharacters = 255;
inline constexpr std::size_t kAtomBytes = 4 * kAtomCharacters;

inline std::uint8_t load8(const std::byte* at) { return std::to_integer<std::uint8_t>(*at); }
inline std::uint16_t load16(const std::byte* at) {
  return static_cast<std::uint16_t>(load8(at) << 8 | load8(at + 1));
}
inline std::uint32_t load32(const std::byte* at) { return std::uint32_t{load16(at)} << 16 | load16(at + 2); }

/// Both orders of bytes are what a double is on the machines we run on; a list of floats is nothing but these two.
inline double load_double(const std::byte* at) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return std::bit_cast<double>(std::endian::native == std::endian::little ? __builtin_bswap64(bits) : bits);
}
inline void store_double(std::byte* at, double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  const std::uint64_t wire = std::endian::native == std::endian::little ? __builtin_bswap64(bits) : bits;
  std::memcpy(at, &wire, sizeof wire);
}

inline void store8(std::byte* at, std::uint8_t value) { *at = std::byte{value}; }
inline void store16(std::byte* at, std::uint16_t value) {
  store8(at, static_cast<std::uint8_t>(value >> 8));
  store8(at + 1, static_cast<std::uint8_t>(value));
}
inline void store32(std::byte* at, std::uint32_t value) {
  store16(at, static_cast<std::uint16_t>(value >> 16));
  store16(at + 2, static_cast<std::uint16_t>(value));
}

/// Up to eight bytes, little-endian, as a number.
inline std::uint64_t load_little(Bytes magnitude) {
  std::uint64_t value = 0;
  for (std::size_t i = magnitude.size(); i-- > 0;) value = value << 8 | load8(magnitude.data() + i);
  return value;
}

/// A magnitude without the zero bytes at its high end.
inline Bytes without_leading_zeros(Bytes magnitude) {
  while (!magnitude.empty() && magnitude.back() == std::byte{0}) magnitude = magnitude.first(magnitude.size() - 1);
  return magnitude;
}

inline char* chars(std::byte* at) { return reinterpret_cast<char*>(at); }
inline const char* chars(const std::byte* at) { return reinterpret_cast<const char*>(at); }

}  // namespace pyw::etf
