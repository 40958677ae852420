#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/bytes.hpp"

namespace pyw::etf {

/// No byte of it has its high bit set. Eight at a time: nearly every atom ends here.
inline bool is_ascii(Bytes text) {
  std::uint64_t seen = 0;
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    seen |= word;
  }
  for (; i < text.size(); ++i) seen |= std::to_integer<std::uint64_t>(text[i]);
  return (seen & 0x8080808080808080u) == 0;
}

/// How many characters, or nothing when it is not UTF-8 as Erlang and Python understand it: the shortest form only, no
/// surrogates, nothing above U+10FFFF.
inline std::optional<std::size_t> utf8_length(Bytes text) {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < text.size(); ++characters) {
    const auto lead = std::to_integer<std::uint32_t>(text[i]);
    const std::size_t more = lead < 0x80 ? 0 : lead < 0xC2 ? 4 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF5 ? 3 : 4;
    if (more == 4 || text.size() - i <= more) return std::nullopt;
    std::uint32_t code = more == 0 ? lead : lead & (0x3Fu >> more);
    for (std::size_t k = 1; k <= more; ++k) {
      const auto byte = std::to_integer<std::uint32_t>(text[i + k]);
      if ((byte & 0xC0) != 0x80) return std::nullopt;
      code = code << 6 | (byte & 0x3F);
    }
    const bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
    if (overlong || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) return std::nullopt;
    i += more + 1;
  }
  return characters;
}

}  // namespace pyw::etf
