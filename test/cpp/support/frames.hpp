#pragma once

#include <cstdint>
#include <string>

#include "port/header.hpp"

/// Frames as the BEAM would send them, written out by hand so that a mistake in port/ cannot hide itself.
namespace frames {

inline std::string big_endian(std::uint64_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift & 0xff));
  return out;
}
inline std::string u64(std::uint64_t value) { return big_endian(value, 8); }
inline std::string raw(const std::string& content) { return big_endian(content.size(), 4) + content; }
inline std::string header(std::uint8_t kind, std::uint8_t flags, std::uint64_t id) {
  return std::string{static_cast<char>(kind), static_cast<char>(flags), 0, 0} + u64(id);
}
inline std::string request(std::uint64_t id, const std::string& payload, std::uint64_t deadline = 0) {
  return raw(header(0x10, 0, id) + u64(0) + u64(deadline) + payload);
}
inline std::string control(pyw::port::Kind kind, std::uint64_t id, std::uint8_t flags = 0) {
  return raw(header(static_cast<std::uint8_t>(kind), flags, id));
}

}  // namespace frames
