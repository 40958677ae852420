#include "session/session.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "support/frames.hpp"

using namespace pyw;
using session::Interrupt;
using session::Session;

namespace {

struct FakeEffects final : session::Effects {
  int signals = 0, dumps = 0;
  std::uint64_t credit = 0;
  void signal_main() override { ++signals; }
  void dump_stacks() override { ++dumps; }
  void more_output_credit(std::uint64_t lines) override { credit += lines; }
};

/// A session whose answers can be read back as (kind, id, payload).
struct Fixture {
  UniqueFd read_end, write_end;
  std::unique_ptr<port::Outbox> outbox;
  FakeEffects effects;
  std::unique_ptr<Session> session;

  explicit Fixture(Session::Options options = {}) {
    std::array<int, 2> fds;
    REQUIRE(::pipe2(fds.data(), O_NONBLOCK | O_CLOEXEC) == 0);
    read_end = UniqueFd(fds[0]);
    write_end = UniqueFd(fds[1]);
    outbox = std::make_unique<port::Outbox>(fds[1]);
    session = std::make_unique<Session>(*outbox, effects, options);
  }
  Result<void> receive(const std::string& wire) {
    port::FrameReader reader(1 << 20);
    std::memcpy(reader.space().data(), wire.data(), wire.size());
    reader.filled(wire.size());
    port::Frame frame;
    REQUIRE(reader.next(frame) == port::FrameReader::Next::frame);
    return session->receive(std::move(frame));
  }
  void request(std::uint64_t id, std::uint64_t deadline = 0) { REQUIRE(receive(frames::request(id, "p", deadline))); }
  void control(port::Kind kind, std::uint64_t id) { REQUIRE(receive(frames::control(kind, id))); }
  void ask(std::uint64_t id) { REQUIRE(receive(frames::control(port::Kind::cancel, id, port::kFlagAsk))); }
  std::string answers() {
    outbox->flush();
    std::string out(1 << 16, '\0');
    const ssize_t n = ::read(read_end.get(), out.data(), out.size());
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
  }
  static std::string ended(std::uint64_t id, port::Ended how) {
    return frames::raw(frames::header(0x55, 0, id) + std::string(1, static_cast<char>(how)));
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "session: requests are taken in the order they came") {
  for (const std::uint64_t id : {7, 3, 9}) request(id);
  for (const std::uint64_t id : {7, 3, 9}) {
    auto frame = session->take();
    REQUIRE(frame);
    CHECK(frame->header.id == id);
    CHECK(session->running() == id);
    session->finished(id);
  }
  CHECK_FALSE(session->take());
  CHECK(session->running() == 0);
}

TEST_CASE_FIXTURE(Fixture, "session: a request that is cancelled in the queue is answered once and never runs") {
  request(1);
  request(2);
  control(port::Kind::cancel, 1);
  control(port::Kind::cancel, 1);
  CHECK(session->take()->header.id == 2);
  CHECK(effects.signals == 0);
  CHECK(answers() == ended(1, port::Ended::dropped) + ended(1, port::Ended::unknown));
  CHECK_FALSE(session->has_commands());
}

TEST_CASE_FIXTURE(Fixture, "session: a request whose deadline has passed is answered and not started") {
  request(1, monotonic_ns() - 1);
  request(2, monotonic_ns() + 3'600'000'000'000);
  CHECK(session->take()->header.id == 2);
  CHECK(answers() == ended(1, port::Ended::expired));
}

TEST_CASE_FIXTURE(Fixture, "session: a cancel of the running request interrupts it, and only it") {
  request(1);
  request(2);
  session->take();
  control(port::Kind::cancel, 1);
  CHECK(effects.signals == 1);
  CHECK(session->take_interrupt(2) == Interrupt::none);
  CHECK(session->take_interrupt(1) == Interrupt::cancel);
  CHECK(session->take_interrupt(1) == Interrupt::none);
}

TEST_CASE_FIXTURE(Fixture, "session: an interrupt that comes too late has no effect on the next request") {
  request(1);
  request(2);
  session->take();
  control(port::Kind::cancel, 1);
  session->finished(1);
  session->take();
  CHECK(session->take_interrupt(2) == Interrupt::none);
  CHECK(session->take_interrupt(1) == Interrupt::none);
}

TEST_CASE_FIXTURE(Fixture, "session: INTERRUPT says whether anything runs") {
  control(port::Kind::interrupt, 40);
  CHECK(answers() == frames::raw(frames::header(0x53, 0, 40) + "\x83w\x0bnot_running"));
  request(1);
  session->take();
  control(port::Kind::interrupt, 41);
  CHECK(answers() == frames::raw(frames::header(0x53, 0, 41) + "\x83w\x02ok"));
  CHECK(session->take_interrupt(1) == Interrupt::interrupt);
}

TEST_CASE_FIXTURE(Fixture, "session: a task is cancelled by the main thread, and signalled only if main may be inside it") {
  request(1);
  session->take();
  session->became_task(1, nullptr);
  control(port::Kind::cancel, 1);
  CHECK(effects.signals == 1);
  auto commands = session->commands();
  REQUIRE(commands.size() == 1);
  CHECK(commands[0].what == session::Command::What::cancel_task);
  CHECK(commands[0].id == 1);
  answers();
  // While main runs something else, the signal would hit that, and the owner must not take the silence for a task that does not end.
  request(2);
  session->take();
  control(port::Kind::cancel, 1);
  CHECK(effects.signals == 1);
  CHECK(answers() == ended(1, port::Ended::deferred));
  session->finished(2);
  session->task_finished(1);
}

TEST_CASE_FIXTURE(Fixture, "session: a cancelled task has no time to clean up as long as one and the same call keeps main") {
  request(1);
  session->take();
  session->became_task(1, nullptr);
  control(port::Kind::cancel, 1);
  session->commands();
  const std::string deferred = ended(1, port::Ended::deferred);
  for (const std::uint64_t id : {2, 3}) {
    request(id);
    session->take();
    ask(1);
    CHECK(answers().empty());  // it may have cleaned up before this call began
    ask(1);
    CHECK(answers() == deferred);
    session->finished(id);
    ask(1);
    CHECK(answers().empty());
  }
  CHECK_FALSE(session->has_commands());  // it is asked about, and not cancelled again
  session->task_finished(1);
  ask(1);
  CHECK(answers().empty());
}

TEST_CASE_FIXTURE(Fixture, "session: of several cancelled tasks the one that keeps main busy is found, whichever was cancelled last") {
  for (const std::uint64_t id : {1, 2, 3}) {
    request(id);
    session->take();
    session->became_task(id, nullptr);
  }
  for (const std::uint64_t id : {1, 2, 3}) control(port::Kind::cancel, id);
  CHECK(session->take_interrupt(2) == Interrupt::cancel);
  CHECK(session->commands().size() == 2);  // the signal has stopped the other one
  CHECK(session->take_interrupt(1) == Interrupt::none);  // main has heard of it: now it is task.cancel() that counts
}

TEST_CASE_FIXTURE(Fixture, "session: a cancel between start and becoming a task is not lost") {
  request(1);
  session->take();
  control(port::Kind::cancel, 1);
  session->became_task(1, nullptr);
  auto commands = session->commands();
  REQUIRE(commands.size() == 1);
  CHECK(commands[0].id == 1);
}

TEST_CASE_FIXTURE(Fixture, "session: a cancel between start and becoming a task finds its first step, should that begin at once and block") {
  request(1);
  session->take();
  control(port::Kind::cancel, 1);
  session->became_task(1, nullptr);
  session->step_begins();
  const int before = effects.signals;
  session->signal_again();
  CHECK(effects.signals == before + 1);
  CHECK(session->take_interrupt(1) == Interrupt::cancel);
  CHECK(session->commands().empty());  // it is stopped, and not cancelled in its `finally` as well
  session->step_ends();
  session->task_finished(1);
}

TEST_CASE_FIXTURE(Fixture, "session: ping, dump, credit and status are served while something runs") {
  request(1);
  request(2);
  session->take();
  control(port::Kind::ping, 50);
  CHECK(answers() == frames::raw(frames::header(0x54, 0, 50)));
  control(port::Kind::dump, 51);
  CHECK(effects.dumps == 1);
  control(port::Kind::credit, 12);
  CHECK(effects.credit == 12);
  answers();
  control(port::Kind::status, 52);
  CHECK(answers().find(std::string("queueda\x01")) != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "session: a second configuration is a protocol error") {
  CHECK_FALSE(receive(frames::raw(frames::header(0x01, 0, 1) + "{}")));
}
