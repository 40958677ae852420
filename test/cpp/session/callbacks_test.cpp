// Callbacks of the worker and the requests that descend from them.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "session/session.hpp"
#include "support/frames.hpp"

using namespace pyw;
using session::Interrupt;
using session::Session;
using session::Waiter;

namespace {

struct NoEffects final : session::Effects {
  int signals = 0;
  void signal_main() override { ++signals; }
  void dump_stacks() override {}
  void more_output_credit(std::uint64_t) override {}
};

struct FakeWaiter final : Waiter {
  explicit FakeWaiter(Where where) : Waiter(where) {}
  std::vector<std::uint64_t> answers, requests, stopped;
  void answered(std::uint64_t id, port::Frame&&) override { answers.push_back(id); }
  void nested(port::Frame&& frame) override { requests.push_back(frame.header.id); }
  bool drop(std::uint64_t id) override { return std::erase(requests, id) != 0; }
  void stop(std::uint64_t id) override { stopped.push_back(id); }
};

using Ids = std::vector<std::uint64_t>;

struct Fixture {
  UniqueFd read_end, write_end;
  std::unique_ptr<port::Outbox> outbox;
  NoEffects effects;
  std::unique_ptr<Session> session;
  explicit Fixture(Session::Options options = {}) {
    std::array<int, 2> fds;
    REQUIRE(::pipe2(fds.data(), O_NONBLOCK | O_CLOEXEC) == 0);
    read_end = UniqueFd(fds[0]);
    write_end = UniqueFd(fds[1]);
    outbox = std::make_unique<port::Outbox>(fds[1]);
    session = std::make_unique<Session>(*outbox, effects, options);
  }
  void receive(const std::string& wire) {
    port::FrameReader reader(1 << 20);
    std::memcpy(reader.space().data(), wire.data(), wire.size());
    reader.filled(wire.size());
    port::Frame frame;
    REQUIRE(reader.next(frame) == port::FrameReader::Next::frame);
    REQUIRE(session->receive(std::move(frame)));
  }
  void request(std::uint64_t id, std::uint64_t parent = 0) {
    receive(frames::raw(frames::header(0x10, 0, id) + frames::u64(parent) + frames::u64(0) + "p"));
  }
  void answer(std::uint64_t id) { receive(frames::raw(frames::header(0x30, 0, id) + "\x83j")); }
  void cancel(std::uint64_t id) { receive(frames::control(port::Kind::cancel, id)); }
  std::uint64_t call(std::uint64_t origin, Waiter& waiter, bool waits = false) {
    const auto id = session->next_callback();
    port::FrameBuilder frame(1 << 10);
    frame.begin_callback(id, origin, 7, "");
    frame.writer().version();
    frame.writer().nil();
    session->send_callback(id, origin, waiter, std::move(frame), waits);
    return id;
  }
  static std::string called(std::uint64_t id, std::uint64_t origin) {
    return frames::raw(frames::header(0x61, 0, id) + frames::u64(origin) + frames::u64(7) + "\x83j");
  }
  static std::string given_up(std::uint64_t id) { return frames::raw(frames::header(0x62, 0, id)); }
  static std::string ended(std::uint64_t id, port::Ended how) {
    return frames::raw(frames::header(0x55, 0, id) + std::string(1, static_cast<char>(how)));
  }
  std::string sent() {
    outbox->flush();
    std::string out(1 << 16, '\0');
    const ssize_t n = ::read(read_end.get(), out.data(), out.size());
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
  }
  std::uint64_t take() {
    const auto frame = session->take();
    return frame ? frame->header.id : 0;
  }
  std::uint64_t take_below(std::uint64_t callback) {
    const auto frame = session->take_below(callback);
    return frame ? frame->header.id : 0;
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "callbacks: each answer reaches the one that waits for it, once") {
  FakeWaiter one(Waiter::Where::main), two(Waiter::Where::thread);
  const auto a = call(0, one), b = call(0, two);
  CHECK(sent() == called(a, 0) + called(b, 0));
  answer(b);
  answer(b);  // a job that was killed as it answered
  answer(a);
  CHECK(one.answers == Ids{a});
  CHECK(two.answers == Ids{b});
}

TEST_CASE("callbacks: no more are out than there is credit for, and none is forgotten") {
  Fixture fixture({.max_callbacks = 2});
  FakeWaiter waiter(Waiter::Where::context_loop);
  Ids ids;
  for (int i = 0; i < 4; ++i) ids.push_back(fixture.call(0, waiter));
  CHECK(fixture.sent() == Fixture::called(ids[0], 0) + Fixture::called(ids[1], 0));
  CHECK(fixture.session->abandon(ids[2]));  // never sent: nobody is to be told
  CHECK(fixture.sent() == "");
  CHECK(fixture.session->abandon(ids[0]));
  CHECK(fixture.sent() == Fixture::given_up(ids[0]));  // its credit comes back with its answer, and not before
  fixture.answer(ids[0]);
  CHECK(fixture.sent() == Fixture::called(ids[3], 0));
  CHECK(waiter.answers.empty());
}

TEST_CASE("callbacks: what is nested gets on although those that it descends from hold all the credit") {
  Fixture fixture({.max_callbacks = 2});
  FakeWaiter waiter(Waiter::Where::context_loop);
  const auto outer = fixture.call(0, waiter);
  fixture.call(0, waiter);
  fixture.sent();
  fixture.request(5, outer);
  CHECK(fixture.take() == 5);
  const auto first = fixture.call(5, waiter), second = fixture.call(5, waiter);
  CHECK(fixture.sent() == Fixture::called(first, 5));  // one at a time
  fixture.answer(first);
  CHECK(fixture.sent() == Fixture::called(second, 5));
}

TEST_CASE("callbacks: those that wait for something do not keep back what they wait for, nor the other way round") {
  for (const bool waits : {true, false}) {
    Fixture fixture({.max_callbacks = 2});
    FakeWaiter waiter(Waiter::Where::context_loop);
    for (int i = 0; i < 3; ++i) fixture.call(0, waiter, waits);
    fixture.sent();
    const auto first = fixture.call(0, waiter, !waits), second = fixture.call(0, waiter, !waits);
    CHECK(fixture.sent() == Fixture::called(first, 0));
    CHECK(fixture.session->abandon(second));
    CHECK(fixture.sent() == "");
  }
}

TEST_CASE_FIXTURE(Fixture, "callbacks: who has given up hears nothing any more") {
  FakeWaiter waiter(Waiter::Where::thread);
  const auto id = call(0, waiter);
  CHECK(session->abandon(id));
  request(10, id);  // its job called before it was killed: a request like any other
  answer(id);
  CHECK(waiter.answers.empty());
  CHECK(waiter.requests.empty());
  CHECK(take() == 10);
  CHECK_FALSE(session->abandon(id));
}

TEST_CASE_FIXTURE(Fixture, "nesting: main serves what descends from its callback and lets the rest wait") {
  FakeWaiter main(Waiter::Where::main);
  request(1);
  CHECK(take() == 1);
  const auto outer = call(1, main);
  request(2);
  request(3, outer);
  CHECK(session->has_below(outer));
  CHECK(take_below(outer) == 3);
  CHECK(session->running() == 3);
  const auto inner = call(3, main);
  request(4, outer);  // descends from the outer one only
  request(5, inner);
  CHECK(take_below(inner) == 5);
  CHECK(take_below(inner) == 0);
  session->finished(5);
  session->finished(3);
  CHECK(session->running() == 1);
  CHECK(take_below(outer) == 4);
  session->finished(4);
  CHECK_FALSE(session->has_below(outer));
  session->finished(1);
  CHECK(take() == 2);
}

TEST_CASE_FIXTURE(Fixture, "nesting: a request descends through tasks and threads in between") {
  FakeWaiter main(Waiter::Where::main), loop(Waiter::Where::context_loop);
  request(1);
  take();
  const auto outer = call(1, main);
  request(2, outer);
  CHECK(take_below(outer) == 2);
  session->became_task(2, nullptr);
  CHECK(session->has_nested_tasks());
  const auto awaited = call(2, loop);
  request(3, awaited);
  CHECK(take_below(outer) == 3);
  session->finished(3);
  session->task_finished(2);
  CHECK_FALSE(session->has_nested_tasks());
}

TEST_CASE_FIXTURE(Fixture, "nesting: what a thread waits for runs on that thread, and goes to the queue when it does not wait any more") {
  FakeWaiter thread(Waiter::Where::thread);
  const auto id = call(0, thread);
  request(1, id);
  CHECK(thread.requests == Ids{1});
  CHECK(take() == 0);
  cancel(1);
  CHECK(thread.requests.empty());
  sent();
  answer(id);
  request(2, id);
  CHECK(take() == 2);
}

TEST_CASE_FIXTURE(Fixture, "nesting: a hundred levels and no more") {
  FakeWaiter main(Waiter::Where::main);
  request(1);
  REQUIRE(take() == 1);
  std::uint64_t callback = call(1, main), id = 1;
  for (unsigned depth = 1; depth <= Session::kMaxNesting; ++depth) {
    request(++id, callback);
    REQUIRE(take_below(callback) == id);
    callback = call(id, main);
  }
  sent();
  request(++id, callback);
  CHECK(take_below(callback) == 0);
  CHECK(sent() == frames::raw(frames::header(0x51, 0, id) + "\x83h\x02w\x10nesting_too_deep" + "ad"));
}

TEST_CASE_FIXTURE(Fixture, "cancel: an outer request gets its interrupt when what is nested in it has gone") {
  FakeWaiter main(Waiter::Where::main);
  request(1);
  take();
  const auto callback = call(1, main);
  request(2, callback);
  CHECK(take_below(callback) == 2);
  sent();
  cancel(1);
  CHECK(sent() == given_up(callback));  // so that Erlang ends the job
  // Who asked for request 2 need not end with the job; main must come back all the same.
  CHECK(effects.signals == 1);
  CHECK(session->take_interrupt(2) == Interrupt::interrupt);
  const int before = effects.signals;
  session->finished(2);
  CHECK(effects.signals == before + 1);
  CHECK(session->take_interrupt(1) == Interrupt::cancel);
}

TEST_CASE_FIXTURE(Fixture, "cancel: a request that waits on another thread is stopped there") {
  FakeWaiter outer(Waiter::Where::thread), inner(Waiter::Where::thread);
  const auto callback = call(0, outer);
  request(1, callback);
  outer.requests.clear();  // the thread has taken it
  port::Frame frame;
  frame.header.id = 1;
  CHECK(session->begin_elsewhere(frame));
  call(1, inner);
  cancel(1);
  CHECK(inner.stopped == Ids{1});
  CHECK(outer.stopped.empty());
  session->finished_elsewhere(1);
}

TEST_CASE_FIXTURE(Fixture, "cancel: a task that a thread works for is stopped on that thread, and what is nested there first") {
  FakeWaiter outer(Waiter::Where::thread), inner(Waiter::Where::thread), other(Waiter::Where::thread), own_loop(Waiter::Where::other_loop);
  request(1);
  take();
  session->became_task(1, nullptr);
  const auto callback = call(1, outer);
  call(9, other);
  request(2, callback);
  port::Frame frame;
  frame.header.id = 2;
  CHECK(session->begin_elsewhere(frame));
  call(2, inner);
  const auto in_a_loop = call(2, own_loop);  // a loop that request 2 runs on its thread
  sent();
  cancel(1);
  CHECK(outer.stopped == Ids{1});
  CHECK(inner.stopped == Ids{2});
  CHECK(other.stopped.empty());
  CHECK(own_loop.stopped.empty());  // the request is no task of it
  CHECK(sent() == given_up(in_a_loop));
  session->finished_elsewhere(2);
  session->task_finished(1);
}

TEST_CASE_FIXTURE(Fixture, "cancel: what a task awaits on its loop does not count as its thread") {
  FakeWaiter loop(Waiter::Where::context_loop), thread(Waiter::Where::thread);
  request(1);
  take();
  session->became_task(1, nullptr);
  const auto callback = call(1, loop);
  request(2, callback);
  take();
  session->became_task(2, nullptr);
  call(2, thread);
  cancel(1);
  CHECK(thread.stopped.empty());
  session->task_finished(1);
  session->task_finished(2);
}

TEST_CASE_FIXTURE(Fixture, "cancel: a request in a loop on main stands above the one that runs the loop") {
  FakeWaiter loop(Waiter::Where::other_loop);
  request(1);
  take();
  const auto callback = call(1, loop);
  request(2, callback);
  loop.requests.clear();  // the loop has taken it
  port::Frame frame;
  frame.header.id = 2;
  CHECK(session->begin_on_main(frame));
  CHECK(session->running() == 2);
  sent();
  cancel(2);
  CHECK(session->take_interrupt(2) == Interrupt::cancel);
  cancel(1);
  CHECK(sent() == given_up(callback));
  CHECK(session->take_interrupt(2) == Interrupt::interrupt);
  session->finished(2);
  CHECK(session->take_interrupt(1) == Interrupt::cancel);
  session->finished(1);
}

TEST_CASE_FIXTURE(Fixture, "cancel: a task that its signal has stopped is not cancelled in its finally; one whose signal was lost is stopped again") {
  request(7);
  take();
  session->became_task(7, nullptr);
  session->step_begins();
  cancel(7);
  CHECK(session->take_interrupt(7) == Interrupt::cancel);
  CHECK(session->commands().empty());
  const int before = effects.signals;
  session->interrupt_again(7, Interrupt::cancel);
  CHECK(effects.signals == before + 1);
  CHECK(session->commands().size() == 1);
  CHECK(session->take_interrupt(7) == Interrupt::none);  // what the loop has been told is task.cancel()'s
  session->step_ends();
  session->task_finished(7);
}

TEST_CASE_FIXTURE(Fixture, "interrupt: one that could not be taken while tasks ran above is signalled again") {
  request(1);
  take();
  CHECK(session->step_begins() == 1);
  session->step_ends();
  CHECK(effects.signals == 0);
  session->step_begins();
  cancel(1);
  CHECK(session->take_interrupt(7) == Interrupt::none);  // the task that was being stepped
  const int before = effects.signals;
  session->step_ends();
  CHECK(effects.signals == before + 1);
  CHECK(session->take_interrupt(1) == Interrupt::cancel);
  session->step_begins();
  session->step_ends();
  CHECK(effects.signals == before + 1);
  session->finished(1);
}

TEST_CASE_FIXTURE(Fixture, "a mailbox that goes takes its callbacks with it and leaves its requests to others") {
  FakeWaiter loop(Waiter::Where::other_loop);
  const auto id = call(0, loop);
  sent();
  request(1, id);
  std::deque<port::Frame> left(1);
  left[0].header.id = 1;
  session->forget(loop, std::move(left));
  CHECK(sent() == given_up(id));
  answer(id);
  CHECK(loop.answers.empty());
  CHECK(take() == 1);
}
