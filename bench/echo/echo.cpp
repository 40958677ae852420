// The floor of our measurements: what an Erlang port costs when the program behind it does nothing at all.
//
//   py_port_echo SPIN_US
//
// Reads {packet, 4} frames from fd 3 and writes each one back to fd 4 once it is complete: like a worker, which cannot
// answer half a question. What stands complete in the buffer goes out in one write. It spins on a non-blocking read for
// SPIN_US after the last byte and then sleeps in poll; it is not adaptive, so what it shows is the best case of spinning.
// Ends with status 0 when fd 3 closes, 1 on any error. One thread, no state but the buffer.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kIn = 3;
constexpr int kOut = 4;
constexpr std::size_t kHead = 4;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "py_port_echo: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

/// Bytes read and not yet written. Grows to the largest frame seen and is never zeroed or shrunk.
/// Invariant: the first byte is the first of a frame's length.
class Buffer {
 public:
  /// Room for what the unfinished frame still needs, and for at least one more small read.
  std::byte* room(std::size_t& size) {
    const std::size_t wanted = used_ < kHead ? kSmall : frame_size(0) + kSmall;
    if (wanted > capacity_) {
      auto bigger = std::make_unique_for_overwrite<std::byte[]>(wanted);
      if (used_ != 0) std::memcpy(bigger.get(), data_.get(), used_);
      data_ = std::move(bigger);
      capacity_ = wanted;
    }
    size = capacity_ - used_;
    return data_.get() + used_;
  }
  void filled(std::size_t count) { used_ += count; }
  const std::byte* data() const { return data_.get(); }

  /// The length of all complete frames at the front.
  std::size_t complete() const {
    std::size_t end = 0;
    while (used_ - end >= kHead && used_ - end >= frame_size(end)) end += frame_size(end);
    return end;
  }
  void drop(std::size_t count) {
    used_ -= count;
    // At most the beginning of one frame stays, and nearly always nothing.
    if (used_ != 0) std::memmove(data_.get(), data_.get() + count, used_);
  }

 private:
  static constexpr std::size_t kSmall = std::size_t{256} * 1024;
  std::size_t frame_size(std::size_t at) const {
    std::size_t length = 0;
    for (std::size_t i = 0; i < kHead; ++i) length = length << 8 | std::to_integer<std::size_t>(data_[at + i]);
    return kHead + length;
  }
  std::unique_ptr<std::byte[]> data_;
  std::size_t used_ = 0;
  std::size_t capacity_ = 0;
};

void wait_for(int fd, short events) {
  pollfd watched{fd, events, 0};
  while (poll(&watched, 1, -1) < 0)
    if (errno != EINTR) fail("poll");
}

/// The number of bytes read; 0 at the end of the stream.
std::size_t read_some(std::byte* to, std::size_t size, Clock::duration spin) {
  Clock::time_point give_up{};
  for (;;) {
    const ssize_t got = read(kIn, to, size);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) fail("read");
    if (give_up == Clock::time_point{}) give_up = Clock::now() + spin;
    if (Clock::now() >= give_up) wait_for(kIn, POLLIN);
  }
}

void write_all(const std::byte* from, std::size_t size) {
  while (size != 0) {
    const ssize_t put = write(kOut, from, size);
    if (put < 0) {
      if (errno == EINTR) continue;
      fail("write");
    }
    from += put;
    size -= static_cast<std::size_t>(put);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Clock::duration spin = std::chrono::microseconds(argc > 1 ? std::atol(argv[1]) : 0);
  if (fcntl(kIn, F_SETFL, O_NONBLOCK) < 0) fail("fcntl");
#ifdef F_SETPIPE_SZ
  // Refused for users over their pipe limit; then the measurement is of what they have.
  for (int fd : {kIn, kOut})
    if (fcntl(fd, F_SETPIPE_SZ, 1 << 20) < 0) std::perror("py_port_echo: pipes of 1 MiB");
#endif
  for (Buffer buffer;;) {
    std::size_t size = 0;
    std::byte* room = buffer.room(size);
    const std::size_t got = read_some(room, size, spin);
    if (got == 0) return 0;
    buffer.filled(got);
    if (const std::size_t ready = buffer.complete(); ready != 0) {
      write_all(buffer.data(), ready);
      buffer.drop(ready);
    }
  }
}
