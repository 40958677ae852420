#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace pyw {

/// A borrowed run of bytes. Whoever hands one out says how long it lives.
using Bytes = std::span<const std::byte>;

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

inline std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace pyw
