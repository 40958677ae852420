#include "loop/sentinel.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <system_error>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace pyw::loop {
namespace {
constexpr int kTickMs = 1;
constexpr int kTakenOverTickMs = 5;
constexpr int kCountMs = 100;   ///< how often we try to say how many lines were dropped
constexpr std::uint64_t kReserved = 2;  ///< credit for what there is to say at the very end: how much of each stream was dropped
constexpr std::uint64_t kSignalAgainNs = 50'000'000;
constexpr int kQuietTicks = 20;  ///< without a call, and the sentinel goes to sleep
}  // namespace

Sentinel::Sentinel(Inlet& inlet, session::Session& session, port::Outbox& outbox, const Options& options)
    : inlet_(inlet),
      session_(session),
      outbox_(outbox),
      frames_out_(options.frames_out),
      stdout_{options.stdout_fd, port::kFlagStdout, session::LineSplitter(options.output_line),
              session::RateLimit(options.output_rate), InHand(options.crash_fd, 0)},
      stderr_{options.stderr_fd, port::kFlagStderr, session::LineSplitter(options.output_line),
              session::RateLimit(options.output_rate), InHand(options.crash_fd, 1)},
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      credit_(options.output_credit) {
  PYW_CHECK(wake_, "eventfd");
}

Sentinel::~Sentinel() { join(); }

Result<void> Sentinel::start() {
  // Signals are the main thread's: the sentinel must not be the one that a process-directed signal happens to land on.
  sigset_t all, before;
  sigfillset(&all);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&all, fault);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  Result<void> done;
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    done = Error{Errc::os, std::string("the thread beside Python's: ") + error.what()};
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return done;
}

void Sentinel::join() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_seq_cst);
  wake();
  thread_.join();
}

void Sentinel::wake() {
  const std::uint64_t one = 1;
  // EAGAIN means the counter is already up: the wake-up is on its way.
  PYW_CHECK(::write(wake_.get(), &one, sizeof one) == sizeof one || errno == EAGAIN, "cannot wake the sentinel");
}

void Sentinel::run() {
  ::pthread_setname_np(::pthread_self(), "py_sentinel");
  while (!stop_.load(std::memory_order_relaxed)) {
    const bool watching = look_at_main();
    if (taken_over_ && monotonic_ns() >= signal_at_) {
      session_.signal_again();
      signal_at_ = monotonic_ns() + kSignalAgainNs;
    }
    reading_.store(taken_over_, std::memory_order_seq_cst);
    // What main left behind we write only while main cannot; our own lines always.
    const bool writing = emitted_ || (taken_over_ && outbox_.pending());
    std::array<pollfd, 5> fds{{
        {wake_.get(), POLLIN, 0},
        {stdout_.open ? stdout_.fd : -1, POLLIN, 0},
        {stderr_.open ? stderr_.fd : -1, POLLIN, 0},
        // Without taking over we still hear the BEAM's end, but only when main cannot: idle, main hears it itself.
        {taken_over_ ? inlet_.fd() : -1, POLLIN, 0},
        {writing ? frames_out_ : -1, POLLOUT, 0},
    }};
    const int timeout = watching ? (taken_over_ ? kTakenOverTickMs : kTickMs) : owes_count() ? kCountMs : -1;
    if (::poll(fds.data(), fds.size(), timeout) < 0) continue;  // EINTR
    if (fds[0].revents) {
      std::uint64_t count = 0;
      (void)!::read(wake_.get(), &count, sizeof count);  // resets the counter; EAGAIN cannot be, and would be harmless
    }
    if (fds[1].revents) read_output(stdout_);
    if (fds[2].revents) read_output(stderr_);
    if (owes_count() && !fds[1].revents && !fds[2].revents) report_dropped();
    if (fds[3].revents & POLLIN) {
      // Main may have come back since; then the pipe is its own again. The lock in Inlet keeps the stream whole either way.
      if (activity_.load(std::memory_order_acquire) == seen_) read_frames();
    } else if (fds[3].revents & (POLLHUP | POLLERR)) {
      ::_exit(0);  // the BEAM is gone, and main cannot hear it
    }
    if (taken_over_ || emitted_) write_frames();
  }
}

/// Updates what we know of main; false: nothing runs, sleep without a timer.
bool Sentinel::look_at_main() {
  asleep_.store(false, std::memory_order_seq_cst);
  std::uint64_t now = activity_.load(std::memory_order_seq_cst);
  const bool busy = now & 1;
  const bool changed = now != seen_;
  seen_ = now;
  taken_over_ = busy && (!changed || session_.threads_wait());
  if (busy || changed) {
    quiet_ = 0;
    return true;
  }
  if (++quiet_ < kQuietTicks) return true;
  // Announce first, look again after: either we see main's next call, or main sees that we sleep and wakes us.
  asleep_.store(true, std::memory_order_seq_cst);
  now = activity_.load(std::memory_order_seq_cst);
  if (now == seen_) return false;
  asleep_.store(false, std::memory_order_relaxed);
  return true;
}

/// On the sentinel's thread, or on one that waits. True when something came.
bool Sentinel::read_frames() {
  switch (inlet_.read()) {
    case Inlet::State::ended: ::_exit(0);
    case Inlet::State::broken:
      std::fprintf(stderr, "py_worker: protocol error: %s\n", inlet_.why().message.c_str());
      ::_exit(3);
    case Inlet::State::nothing: return false;
    case Inlet::State::some: break;
  }
  // Main may have come back between our look and our read, found the pipe empty because we had just emptied it, and gone to sleep.
  // Either we see here that it is idle, or it sees our frames when it looks for work after idle().
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (is_busy()) return true;
  const std::lock_guard lock(waker_);
  if (wake_main_) wake_main_();
  return true;
}

void Sentinel::read_for_a_thread() {
  // What the session has answered by itself goes out; the sentinel's own lines may be among it, and it alone knows what that means.
  if (read_frames() && outbox_.pending()) wake();
}

void Sentinel::write_frames() {
  switch (outbox_.flush()) {
    case port::Outbox::State::empty: forget_output(); break;
    case port::Outbox::State::blocked: break;
    case port::Outbox::State::broken:
      emitted_ = false;  // main finds out when it writes
      if (taken_over_) ::_exit(0);
  }
}

void Sentinel::read_output(Capture& capture) {
  if (capture.hand.full()) capture.hand.keep({});  // the BEAM does not take it: then the newest matters most
  const auto room = capture.hand.room();
  const ssize_t n = ::read(capture.fd, room.data(), room.size());
  const auto sink = [&](std::string_view line, bool cut) { emit(capture, line, cut); };
  if (n > 0) {
    capture.lines.feed(capture.hand.took(static_cast<std::size_t>(n)), sink);
    // All of it may have been one unfinished line, or lines that were dropped: then nothing has to be sent first.
    if (!emitted_) capture.hand.keep(capture.lines.partial());
    return;
  }
  capture.hand.took(0);
  if (n == 0) {
    capture.lines.flush(sink);
    capture.open = false;
  } else if (errno != EAGAIN && errno != EINTR) {
    capture.open = false;
  }
}

void Sentinel::emit(Capture& capture, std::string_view line, bool cut) {
  // Dropped, not delayed: who prints is never blocked, and a flood costs the BEAM nothing beyond the credit it gave.
  if (!capture.rate.allow(monotonic_ns()) || !take_credit(kReserved)) {
    ++capture.dropped;
    return;
  }
  const std::uint8_t flags = static_cast<std::uint8_t>(capture.flag | (cut ? port::kFlagCut : 0));
  outbox_.append(port::Kind::output, flags, std::exchange(capture.dropped, 0), bytes_of(line));
  emitted_ = true;
}

/// A flood has ended: says how much of it was dropped, for there may be no further line to say it with.
void Sentinel::report_dropped() {
  for (Capture* capture : {&stdout_, &stderr_}) {
    if (capture->dropped != 0 && capture->rate.allow(monotonic_ns()) && take_credit(kReserved)) send_dropped(*capture);
  }
}

void Sentinel::send_dropped(Capture& capture) {
  const std::uint8_t flags = static_cast<std::uint8_t>(capture.flag | port::kFlagCountOnly);
  outbox_.append(port::Kind::output, flags, std::exchange(capture.dropped, 0));
  emitted_ = true;
}

/// True if there was more than `reserved`, and one less now.
bool Sentinel::take_credit(std::uint64_t reserved) {
  std::uint64_t have = credit_.load(std::memory_order_relaxed);
  while (have > reserved)
    if (credit_.compare_exchange_weak(have, have - 1, std::memory_order_relaxed)) return true;
  return false;
}

void Sentinel::forget_output() {
  emitted_ = false;
  for (Capture* capture : {&stdout_, &stderr_}) capture->hand.keep(capture->lines.partial());
}

void Sentinel::drain_output() {
  for (Capture* capture : {&stdout_, &stderr_}) {
    pollfd fd{capture->fd, POLLIN, 0};
    while (capture->open && ::poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN)) read_output(*capture);
    capture->lines.flush([&](std::string_view line, bool cut) { emit(*capture, line, cut); });
    if (capture->dropped != 0 && take_credit(0)) send_dropped(*capture);
  }
}

}  // namespace pyw::loop
