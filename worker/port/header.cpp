#include "port/header.hpp"

#include <string>

namespace pyw::port {
namespace {

bool comes_from_beam(std::uint8_t kind) {
  return kind == 0x01 || (kind >= 0x10 && kind <= 0x15) || (kind >= 0x20 && kind <= 0x27) || kind == 0x30 || kind == 0x31;
}

Error bad(std::string why) { return {Errc::bad_frame, std::move(why)}; }

}  // namespace

Result<Header> parse_header(Bytes frame) {
  if (frame.size() < kShortHeader) return bad("a frame of " + std::to_string(frame.size()) + " bytes has no header");
  const auto kind = std::to_integer<std::uint8_t>(frame[0]);
  if (!comes_from_beam(kind)) return bad("frame kind " + std::to_string(kind) + " is unknown");
  Header header;
  header.kind = static_cast<Kind>(kind);
  header.flags = std::to_integer<std::uint8_t>(frame[1]);
  header.ns = static_cast<std::uint16_t>(get_be(frame.data() + 2, 2));
  header.id = get_be(frame.data() + 4, 8);
  header.payload_at = kShortHeader;
  const std::uint8_t known = header.is_request() ? kFlagTrace | kFlagReturnRef | kFlagNoResult : header.kind == Kind::cancel ? kFlagAsk : 0;
  if (header.flags & ~known) return bad("frame flags " + std::to_string(header.flags) + " are unknown");
  if (header.ns != 0) return bad("namespace " + std::to_string(header.ns) + " is unknown");
  if (!header.is_request()) return header;

  if (frame.size() < kRequestHeader) return bad("a request is shorter than its header");
  if (header.id == 0) return bad("a request has the id 0");
  header.parent = get_be(frame.data() + 12, 8);
  header.deadline = get_be(frame.data() + 20, 8);
  header.payload_at = kRequestHeader;
  if (header.flags & kFlagTrace) {
    if (frame.size() < kRequestHeader + 2) return bad("a request is shorter than its trace field");
    const std::size_t length = get_be(frame.data() + kRequestHeader, 2);
    header.payload_at += 2 + length;
    if (frame.size() < header.payload_at) return bad("a request is shorter than its trace field");
    header.trace = text_of(frame.subspan(kRequestHeader + 2, length));
  }
  return header;
}

void put_short_header(std::byte* out, Kind kind, std::uint8_t flags, std::uint64_t id) {
  out[0] = static_cast<std::byte>(kind);
  out[1] = static_cast<std::byte>(flags);
  out[2] = out[3] = std::byte{0};
  put_u64(out + 4, id);
}

}  // namespace pyw::port
