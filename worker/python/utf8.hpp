#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/bytes.hpp"

namespace pyw::utf8 {

/// How many bytes from the start are ASCII, a lower bound in steps of what is fast: exact when it is not the whole.
inline std::size_t ascii_prefix(const unsigned char* p, std::size_t size) {
  std::size_t at = 0;
  for (; at + 32 <= size; at += 32) {  // the compiler makes vector instructions of this
    std::uint64_t word[4];
    std::memcpy(word, p + at, 32);
    if ((word[0] | word[1] | word[2] | word[3]) & 0x8080808080808080u) break;
  }
  for (; at + 8 <= size; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, p + at, 8);
    if (word & 0x8080808080808080u) break;
  }
  while (at < size && p[at] < 0x80) ++at;
  return at;
}

/// What CPython's strict decoder accepts: shortest forms, no surrogates, at most U+10FFFF. Asked before decoding, because a failed
/// decode makes an exception that holds a copy of the whole input.
inline bool valid(Bytes bytes) {
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  const std::size_t size = bytes.size();
  std::size_t at = 0;
  const auto tail = [&](std::size_t i) { return (p[at + i] & 0xC0) == 0x80; };
  while ((at += ascii_prefix(p + at, size - at)) < size) {
    // As long as the text is not ASCII, stay here: looking for ASCII costs more than it brings.
    do {
      const unsigned char lead = p[at];
      const std::size_t left = size - at;
      if (lead >= 0xC2 && lead <= 0xDF) {
        if (left < 2 || !tail(1)) return false;
        at += 2;
      } else if (lead >= 0xE0 && lead <= 0xEF) {
        if (left < 3 || !tail(1) || !tail(2)) return false;
        if ((lead == 0xE0 && p[at + 1] < 0xA0) || (lead == 0xED && p[at + 1] >= 0xA0)) return false;
        at += 3;
      } else if (lead >= 0xF0 && lead <= 0xF4) {
        if (left < 4 || !tail(1) || !tail(2) || !tail(3)) return false;
        if ((lead == 0xF0 && p[at + 1] < 0x90) || (lead == 0xF4 && p[at + 1] >= 0x90)) return false;
        at += 4;
      } else {
        return false;
      }
    } while (at < size && p[at] >= 0x80);
  }
  return true;
}

}  // namespace pyw::utf8
