#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace pyw::port {

inline constexpr std::uint64_t kProtocolVersion = 1;
inline constexpr std::size_t kShortHeader = 12;
inline constexpr std::size_t kRequestHeader = 28;
inline constexpr std::size_t kMostHeader = kRequestHeader + 2 + 65535;  ///< with the longest trace
inline constexpr std::size_t kHeaderSpace = 64u << 10;  ///< what a frame may be longer than max_frame

/// docs/protocol.md, section 5.
enum class Kind : std::uint8_t {
  config = 0x01,
  call = 0x10,
  eval = 0x11,
  exec = 0x12,
  method = 0x13,
  getattr = 0x14,
  to_term = 0x15,
  cancel = 0x20,
  interrupt = 0x21,
  ping = 0x22,
  status = 0x23,
  release = 0x24,
  credit = 0x25,
  stop = 0x26,
  dump = 0x27,
  callback_ok = 0x30,
  callback_error = 0x31,
  hello = 0x40,
  ready = 0x41,
  start_failed = 0x42,
  ok = 0x50,
  error = 0x51,
  ref = 0x52,
  control_reply = 0x53,
  pong = 0x54,
  ended = 0x55,
  output = 0x60,
  callback = 0x61,
  callback_cancel = 0x62,
};

inline constexpr std::uint8_t kFlagTrace = 0x01;
inline constexpr std::uint8_t kFlagReturnRef = 0x02;
inline constexpr std::uint8_t kFlagNoResult = 0x04;
inline constexpr std::uint8_t kFlagAsk = 0x01;  ///< of a cancel
inline constexpr std::uint8_t kFlagStdout = 0x01;
inline constexpr std::uint8_t kFlagStderr = 0x02;
inline constexpr std::uint8_t kFlagCut = 0x10;
inline constexpr std::uint8_t kFlagCountOnly = 0x20;

/// How a request ended that was answered with `ended`.
enum class Ended : std::uint8_t {
  dropped = 0,    ///< it was queued
  cancelled = 1,  ///< it was running
  expired = 2,    ///< its deadline had passed before it ran
  unknown = 3,    ///< the id of a cancel is not here: answered already, or not come yet
  deferred = 4,   ///< no answer yet: a coroutine that can go on only when the main thread is done with somebody else's call
};

struct Header {
  Kind kind = Kind::config;
  std::uint8_t flags = 0;
  std::uint16_t ns = 0;
  std::uint64_t id = 0;
  std::uint64_t parent = 0;
  std::uint64_t deadline = 0;
  std::string_view trace{};    ///< borrowed from the frame
  std::size_t payload_at = 0;  ///< where the payload begins in the frame
  bool is_request() const { return (static_cast<std::uint8_t>(kind) & 0xf0) == 0x10; }
};

/// Reads the header of a frame that came from the BEAM. Err(bad_frame) names what the protocol does not allow.
Result<Header> parse_header(Bytes frame);

/// Writes Kind:8, Flags:8, Namespace:16 (0), Id:64 to `out`.
void put_short_header(std::byte* out, Kind kind, std::uint8_t flags, std::uint64_t id);

inline void put_u32(std::byte* out, std::uint32_t value) {
  for (int i = 3; i >= 0; --i, value >>= 8) out[i] = static_cast<std::byte>(value);
}
inline void put_u64(std::byte* out, std::uint64_t value) {
  for (int i = 7; i >= 0; --i, value >>= 8) out[i] = static_cast<std::byte>(value);
}
inline std::uint64_t get_be(const std::byte* in, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | std::to_integer<std::uint64_t>(in[i]);
  return value;
}

}  // namespace pyw::port
