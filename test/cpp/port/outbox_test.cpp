#include "port/outbox.hpp"

#include <doctest/doctest.h>
#include <csignal>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <string>

#include "base/unique_fd.hpp"
#include "support/frames.hpp"

using namespace pyw;
using port::Outbox;

namespace {

struct Pipe {
  UniqueFd read, write;
  Pipe() {
    std::array<int, 2> fds;
    REQUIRE(::pipe2(fds.data(), O_NONBLOCK | O_CLOEXEC) == 0);
    read = UniqueFd(fds[0]);
    write = UniqueFd(fds[1]);
  }
  std::string take(std::size_t most = 1 << 20) {
    std::string out(most, '\0');
    const ssize_t n = ::read(read.get(), out.data(), out.size());
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
  }
};

void count_up(void* counter) { ++*static_cast<int*>(counter); }

}  // namespace

TEST_CASE("outbox: frames leave in the order they came, in one write") {
  Pipe pipe;
  Outbox outbox(pipe.write.get());
  outbox.append(port::Kind::pong, 0, 1);
  outbox.append(port::Kind::ended, 0, 2, bytes_of("x"));
  CHECK(outbox.pending());
  CHECK(outbox.flush() == Outbox::State::empty);
  CHECK_FALSE(outbox.pending());
  CHECK(pipe.take() == frames::raw(frames::header(0x54, 0, 1)) + frames::raw(frames::header(0x55, 0, 2) + "x"));
}

TEST_CASE("outbox: a full pipe loses nothing and tears nothing, however it is drained") {
  Pipe pipe;
  Outbox outbox(pipe.write.get());
  std::string sent, got;
  int ended = 0;
  const std::string big(300'000, 'B');
  for (std::uint64_t id = 1; id <= 20; ++id) {
    port::FrameBuilder frame(1 << 20);
    frame.begin(port::Kind::ok, 0, id);
    frame.writer().version();
    frame.writer().tuple(2);
    frame.writer().binary_reference(bytes_of(big), Lease(count_up, &ended));
    frame.writer().integer(7);
    outbox.append(frame);
    sent += frames::raw(frames::header(0x50, 0, id) + "\x83h\x02m" + frames::big_endian(big.size(), 4) + big + "a\x07");
    outbox.append(port::Kind::pong, 0, id);
    sent += frames::raw(frames::header(0x54, 0, id));
  }
  CHECK(outbox.flush() == Outbox::State::blocked);
  for (std::size_t step = 1; outbox.pending(); step = step * 3 % 70'001 + 1) {
    got += pipe.take(step);
    REQUIRE(outbox.flush() != Outbox::State::broken);
    // Appending while a segment is half written must not move what is left of it.
    if (got.size() < 1'000'000) {
      outbox.append(port::Kind::pong, 0, 99);
      sent += frames::raw(frames::header(0x54, 0, 99));
    }
  }
  for (std::string rest; !(rest = pipe.take()).empty();) got += rest;
  CHECK(got.size() == sent.size());
  CHECK(got == sent);
  CHECK(ended == 0);  // only collect() may end leases: who wrote may not hold what they need
  outbox.collect();
  CHECK(ended == 20);
}

TEST_CASE("outbox: the bytes of a large frame stay where its references belong") {
  Pipe pipe;
  Outbox outbox(pipe.write.get());
  std::string sent, got;
  int ended = 0;
  const std::string big(1'500'000, 'O'), elsewhere(100'000, 'R');
  port::FrameBuilder frame(8u << 20);
  for (std::uint64_t id = 1; id <= 4; ++id) {
    frame.begin(port::Kind::ok, 0, id);
    frame.writer().version();
    frame.writer().tuple(3);
    frame.writer().binary(big);
    std::string body = "\x83h\x03m" + frames::big_endian(big.size(), 4) + big;
    for (int i = 0; i < 2; ++i) {
      if (id % 2 == 0) frame.writer().binary_reference(bytes_of(elsewhere), Lease(count_up, &ended));
      else frame.writer().binary(elsewhere);
      body += "m" + frames::big_endian(elsewhere.size(), 4) + elsewhere;
    }
    outbox.append(frame);
    sent += frames::raw(frames::header(0x50, 0, id) + body);
    outbox.append(port::Kind::pong, 0, id);
    sent += frames::raw(frames::header(0x54, 0, id));
  }
  while (outbox.flush() == Outbox::State::blocked) got += pipe.take(70'001);
  for (std::string rest; !(rest = pipe.take()).empty();) got += rest;
  CHECK((got == sent));
  outbox.collect();
  CHECK(ended == 4);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need memory themselves
TEST_CASE("outbox: a frame that fits into memory once, and not twice, is sent") {
  Pipe pipe;
  Outbox outbox(pipe.write.get());
  const std::string big(64u << 20, 'O');
  port::FrameBuilder frame(128u << 20);
  frame.begin(port::Kind::ok, 0, 1);
  frame.writer().binary(big);
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_DATA, &before) == 0);
  const rlimit none{1, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_DATA, &none) == 0);
  outbox.append(frame);
  REQUIRE(::setrlimit(RLIMIT_DATA, &before) == 0);
  std::string got;
  while (outbox.flush() == Outbox::State::blocked) got += pipe.take();
  for (std::string rest; !(rest = pipe.take()).empty();) got += rest;
  CHECK((got == frames::raw(frames::header(0x50, 0, 1) + "m" + frames::big_endian(big.size(), 4) + big)));
}
#endif

TEST_CASE("outbox: a closed reader is told apart from a full pipe") {
  ::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  Outbox outbox(pipe.write.get());
  pipe.read.reset();
  outbox.append(port::Kind::pong, 0, 1);
  CHECK(outbox.flush() == Outbox::State::broken);
}
