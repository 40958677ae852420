// One thread reads the pipe; others run requests, make callbacks, give them up, wait for the answers and serve what is nested in them. Every
// request has one answer and every waiter its own. Under ThreadSanitizer this is also the proof that nobody touches a waiter that has gone.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "session/blocked_thread.hpp"
#include "session/session.hpp"
#include "support/frames.hpp"

using namespace pyw;
using session::Session;
using session::Waiter;

namespace {

struct CountsSignals final : session::Effects {
  std::atomic<int> signals{0};
  void signal_main() override { ++signals; }
  void dump_stacks() override {}
  void more_output_credit(std::uint64_t) override {}
};

port::Frame frame_of(const std::string& wire) {
  port::FrameReader reader(1 << 20);
  std::memcpy(reader.space().data(), wire.data(), wire.size());
  reader.filled(wire.size());
  port::Frame frame;
  CHECK((reader.next(frame) == port::FrameReader::Next::frame));
  return frame;
}

/// Plays Erlang: for every CALLBACK a nested request, of which some are cancelled at once, and then the answer.
class Peer {
 public:
  Peer(int fd, Session& session) : fd_(fd), session_(session) {}

  void run(const std::atomic<bool>& over) {
    port::FrameReader reader(1 << 20);
    for (;;) {
      const bool last = over;
      const auto space = reader.space();
      const ssize_t n = ::read(fd_, space.data(), space.size());
      if (n <= 0) {
        if (last) return;
        std::this_thread::yield();
        continue;
      }
      reader.filled(static_cast<std::size_t>(n));
      read(space.data(), static_cast<std::size_t>(n));
    }
  }
  std::map<std::uint64_t, int> answers;  ///< request -> how many
  std::uint64_t requests = 0;

 private:
  void read(const std::byte* bytes, std::size_t n) {
    stream_.append(reinterpret_cast<const char*>(bytes), n);
    for (std::size_t at = 0;; ) {
      if (stream_.size() - at < 4) return void(stream_.erase(0, at));
      const auto* head = reinterpret_cast<const std::byte*>(stream_.data()) + at;
      const std::size_t length = port::get_be(head, 4);
      if (stream_.size() - at < 4 + length) return void(stream_.erase(0, at));
      take(std::to_integer<std::uint8_t>(head[4]), port::get_be(head + 8, 8), std::to_integer<std::uint8_t>(head[4 + length - 1]));
      at += 4 + length;
    }
  }
  void take(std::uint8_t kind, std::uint64_t id, std::uint8_t last) {
    if (kind == 0x61) {
      give(frames::header(0x10, 0, ++requests) + frames::u64(id) + frames::u64(0) + "p");
      if (id % 3 == 0) give(frames::header(0x20, 0, requests));
      give(frames::header(0x30, 0, id) + "\x83j");
    } else if (kind == 0x50 || (kind == 0x55 && last <= 2)) {
      ++answers[id];
    }
  }
  void give(const std::string& frame) { CHECK(session_.receive(frame_of(frames::raw(frame))).ok()); }

  const int fd_;
  Session& session_;
  std::string stream_;
};

}  // namespace

TEST_CASE("threads that call, wait and give up all at once: each answer arrives once, and at its own waiter") {
  std::array<int, 2> fds;
  REQUIRE(::pipe2(fds.data(), O_NONBLOCK | O_CLOEXEC) == 0);
  const UniqueFd read_end(fds[0]), write_end(fds[1]);
  port::Outbox outbox(write_end.get());
  CountsSignals effects;
  Session session(outbox, effects, {.max_callbacks = 8});
  std::atomic<bool> over{false};
  Peer peer(read_end.get(), session);
  std::thread reading([&] { peer.run(over); });

  constexpr int kThreads = 6;
  constexpr int kCalls = 400;
  std::atomic<int> wrong{0};
  const auto answer = [&](std::uint64_t id) { outbox.append(port::Kind::ok, 0, id); };
  const auto send = [&](std::uint64_t id, Waiter& waiter) {
    port::FrameBuilder frame(1 << 10);
    frame.begin_callback(id, 0, 0, "");
    frame.writer().version();
    frame.writer().nil();
    session.send_callback(id, 0, waiter, std::move(frame));
    outbox.flush();
  };
  const auto serve = [&](BlockedThread& thread) {
    while (const auto frame = thread.take_nested())
      if (session.begin_elsewhere(*frame)) {
        answer(frame->header.id);
        session.finished_elsewhere(frame->header.id);
      }
  };
  const auto calls = [&] {
    for (int i = 0; i < kCalls; ++i) {
      BlockedThread thread(Waiter::Where::thread);
      const auto id = session.next_callback();
      send(id, thread);
      const bool impatient = i % 5 == 0;
      bool there = false;
      while (!there && !impatient) {
        there = thread.wait(0) == BlockedThread::Event::answer;
        serve(thread);
      }
      if (!there && session.abandon(id)) {
        outbox.flush();
      } else if (thread.take_answer().header.id != id) {
        ++wrong;
      }
      session.requeue(thread.take_all_nested());
      outbox.flush();
    }
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < kThreads; ++i) callers.emplace_back(calls);

  // Main: looks without a lock whether the answer is there, as MainLoop::wait does, and lets go of the waiter at once.
  const auto run = [&](std::optional<port::Frame> frame) {
    if (!frame) return false;
    answer(frame->header.id);
    session.finished(frame->header.id);
    return true;
  };
  for (int i = 0; i < kCalls; ++i) {
    BlockedThread thread(Waiter::Where::main);
    const auto id = session.next_callback();
    send(id, thread);
    while (!thread.done()) {
      run(session.take_below(id));
      outbox.flush();
      std::this_thread::yield();
    }
    if (thread.take_answer().header.id != id) ++wrong;
  }
  for (auto& caller : callers) caller.join();
  while (run(session.take())) {
  }
  while (outbox.flush() == port::Outbox::State::blocked) std::this_thread::yield();
  over = true;
  reading.join();
  // What was asked when nobody else was there any more.
  while (run(session.take())) {
  }
  CHECK(wrong == 0);
  CHECK(peer.requests > kCalls);
  CHECK_FALSE(session.has_requests());
  std::size_t twice = 0;
  for (const auto& [id, times] : peer.answers) twice += times != 1;
  CHECK(twice == 0);
}
