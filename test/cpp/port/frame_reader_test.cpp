#include "port/frame_reader.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "support/frames.hpp"

using namespace pyw;
using port::Frame;
using port::FrameReader;

namespace {

/// Feeds `wire` in chunks; returns what came out. Stops at `broken`.
std::vector<std::string> read_all(FrameReader& reader, std::string_view wire, std::size_t chunk) {
  std::vector<std::string> got;
  while (!wire.empty()) {
    const auto space = reader.space();
    REQUIRE_FALSE(space.empty());
    const std::size_t n = std::min<std::size_t>({chunk, space.size(), wire.size()});
    std::memcpy(space.data(), wire.data(), n);
    reader.filled(n);
    wire.remove_prefix(n);
    Frame frame;
    FrameReader::Next next;
    while ((next = reader.next(frame)) == FrameReader::Next::frame) got.emplace_back(text_of(frame.payload()));
    if (next == FrameReader::Next::broken) return got;
  }
  return got;
}

}  // namespace

TEST_CASE("frame reader: the chunking of the stream never changes the frames") {
  const std::string wire = frames::request(1, "alpha") + frames::request(2, "") + frames::request(3, "omega");
  for (std::size_t chunk = 1; chunk <= wire.size(); ++chunk) {
    CAPTURE(chunk);
    FrameReader reader(/*max_frame=*/64);
    CHECK(read_all(reader, wire, chunk) == std::vector<std::string>{"alpha", "", "omega"});
  }
}

TEST_CASE("frame reader: frames larger than its buffer come whole, between small ones, at any chunking") {
  const std::string large(700'000, 'L'), huge(3'000'000, 'H');
  const std::string wire = frames::request(1, "a") + frames::request(2, large) + frames::request(3, "b") + frames::request(4, huge) + frames::request(5, "c");
  for (const std::size_t chunk : {1000ul, 65'536ul, 262'144ul, 1'000'003ul}) {
    CAPTURE(chunk);
    FrameReader reader(/*max_frame=*/4u << 20);
    const auto got = read_all(reader, wire, chunk);
    REQUIRE(got.size() == 5);
    CHECK(got[1] == large);
    CHECK(got[3] == huge);
    CHECK(got[4] == "c");
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need memory themselves
TEST_CASE("frame reader: of a frame that there is no memory for only the header is kept, and the stream goes on behind it") {
  const std::string wire = frames::request(1, "a") + frames::request(2, std::string(64u << 20, 'H')) + frames::request(3, "b");
  for (const std::size_t chunk : {1000ul, 65'560ul, 262'144ul, 70ul << 20}) {
    CAPTURE(chunk);
    FrameReader reader(/*max_frame=*/128u << 20);
    std::vector<std::string> got;
    rlimit before;
    REQUIRE(::getrlimit(RLIMIT_DATA, &before) == 0);
    const rlimit none{1, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_DATA, &none) == 0);
    std::string_view rest = wire;
    while (!rest.empty()) {
      const auto space = reader.space();
      const std::size_t n = std::min<std::size_t>({chunk, space.size(), rest.size()});
      std::memcpy(space.data(), rest.data(), n);
      reader.filled(n);
      rest.remove_prefix(n);
      Frame frame;
      while (reader.next(frame) == FrameReader::Next::frame)
        got.push_back(std::to_string(frame.header.id) + (frame.lost() ? " lost" : " " + std::string(text_of(frame.payload()))));
    }
    REQUIRE(::setrlimit(RLIMIT_DATA, &before) == 0);
    CHECK(got == std::vector<std::string>{"1 a", "2 lost", "3 b"});
  }
}
#endif

TEST_CASE("frame reader: a frame that straddles the end of the buffer is not torn") {
  std::string wire;
  std::vector<std::string> sent;
  for (int i = 0; i < 40; ++i) {
    sent.emplace_back(20'000 + static_cast<std::size_t>(i), static_cast<char>('a' + i % 26));
    wire += frames::request(static_cast<std::uint64_t>(i + 1), sent.back());
  }
  FrameReader reader(1u << 20);
  CHECK(read_all(reader, wire, 1u << 20) == sent);
}

TEST_CASE("frame reader: a length over the limit is refused from its four bytes alone") {
  FrameReader reader(/*max_frame=*/1000);
  const std::string head("\xff\xff\xff\xff", 4);
  CHECK(read_all(reader, head, 4).empty());
  Frame frame;
  CHECK(reader.next(frame) == FrameReader::Next::broken);
  CHECK(reader.error().message.find("4294967295") != std::string::npos);
}

TEST_CASE("frame reader: what is no header ends the stream and says why") {
  const struct {
    std::string wire;
    const char* why;
  } cases[] = {
      {frames::raw(std::string(5, '\0')), "5 bytes"},
      {frames::raw(std::string("\x99", 1) + std::string(11, '\0')), "kind 153"},
      {frames::raw(std::string("\x50", 1) + std::string(11, '\0')), "kind 80"},
      {frames::raw(std::string("\x10\x40", 2) + std::string(26, '\x01')), "flags 64"},
      {frames::raw(std::string("\x22\x01", 2) + std::string(10, '\0')), "flags 1"},
      {frames::raw(std::string("\x20\x02", 2) + std::string(10, '\0')), "flags 2"},
      {frames::raw(std::string("\x10\0\0\x07", 4) + std::string(24, '\x01')), "namespace 7"},
      {frames::raw(std::string("\x10\0\0\0", 4) + std::string(9, '\x01')), "shorter than its header"},
      {frames::raw(std::string("\x10", 1) + std::string(27, '\0')), "id 0"},
      {frames::raw(std::string("\x10\x01\0\0", 4) + std::string(24, '\x01')), "trace"},
      {frames::raw(std::string("\x10\x01\0\0", 4) + std::string(24, '\x01') + std::string("\x7f\xff", 2)), "trace"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.why);
    FrameReader reader(1000);
    CHECK(read_all(reader, one.wire, 1000).empty());
    CHECK(reader.error().message.find(one.why) != std::string::npos);
  }
}

TEST_CASE("frame reader: trace, parent and deadline arrive as sent") {
  const std::string wire = frames::raw(frames::header(0x10, 0x01, 9) + frames::u64(5) + frames::u64(77) + std::string("\0\3", 2) + "abcPAY");
  FrameReader reader(1000);
  std::memcpy(reader.space().data(), wire.data(), wire.size());
  reader.filled(wire.size());
  Frame frame;
  REQUIRE(reader.next(frame) == FrameReader::Next::frame);
  CHECK(frame.header.id == 9);
  CHECK(frame.header.parent == 5);
  CHECK(frame.header.deadline == 77);
  CHECK(frame.header.trace == "abc");
  CHECK(text_of(frame.payload()) == "PAY");
}
