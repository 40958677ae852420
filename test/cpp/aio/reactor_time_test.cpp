// Reactor: moments, being woken, and forks.
#include <sys/resource.h>

#include <atomic>
#include <random>
#include <thread>

#include "aio/reactor_bed.hpp"

using namespace bed;
constexpr int kRead = Watcher::kReadable;

namespace {

/// Lets time pass by a clock that is not the one under test.
void pass(std::uint64_t moment) {
  Own clock;
  while (pyw::monotonic_ns() < moment) clock->wait(moment);
}

}  // namespace

TEST_CASE("reactor: a moment is never early, and comes") {
  std::mt19937 random(1);
  Own reactor;
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t moment = pyw::monotonic_ns() + random() % (2 * kMs);
    do reactor->wait(moment);
    while (!reactor->moment_came());
    REQUIRE(pyw::monotonic_ns() >= moment);
  }
}

TEST_CASE("reactor: a moment that has passed does not wait, whichever it is") {
  Own reactor;
  for (const std::uint64_t moment : {std::uint64_t{0}, std::uint64_t{1}, pyw::monotonic_ns()}) {
    reactor->wait(moment);
    CHECK(reactor->moment_came());
  }
}

TEST_CASE("reactor: without a descriptor for its timer moments come all the same, those that have passed as well") {
  Own reactor;
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const std::uint64_t now = pyw::monotonic_ns();
  std::vector<bool> came;
  for (const std::uint64_t moment : {now, now, now + kMs}) {
    do reactor->wait(moment);
    while (!reactor->moment_came());
    came.push_back(pyw::monotonic_ns() >= moment);
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(came == std::vector<bool>{true, true, true});
}

TEST_CASE("reactor: the timer does not mind that descriptors have been closed while they were watched, whose numbers the kernel gives out next") {
  Own reactor;
  std::vector<std::unique_ptr<Told>> told;
  std::vector<Pair> pairs(3);
  for (const Pair& pair : pairs) {
    told.push_back(std::make_unique<Told>(*reactor));
    told.back()->watch(pair.here.get(), kRead);
  }
  pairs.clear();
  const std::uint64_t moment = pyw::monotonic_ns() + kMs;
  do reactor->wait(moment);
  while (!reactor->moment_came());
  CHECK(pyw::monotonic_ns() >= moment);
  // Nor does a descriptor that is watched next.
  const Pair next;
  Told another(*reactor);
  another.watch(next.here.get(), kRead);
  next.make_readable();
  look_and_tell(*reactor);
  CHECK(another.take() == std::vector<int>{kRead});
}

TEST_CASE("reactor: a process without stdin, stdout and stderr can make one and end it, and go on with its parent's") {
  auto parents = Reactor::make().take();
  CHECK(was_well(forked([&] {
    for (const int number : {0, 1, 2}) ::close(number);
    if (!parents->renew()) return false;
    parents->wait(pyw::monotonic_ns());
    parents.reset();
    auto own = Reactor::make().take();
    own->wait(pyw::monotonic_ns());
    own.reset();
    return ::open("/dev/null", O_RDONLY | O_CLOEXEC) == 0;  // nothing has been left there
  })));
}

TEST_CASE("reactor: disarmed, no moment comes") {
  Own reactor;
  const std::uint64_t moment = pyw::monotonic_ns() + 2 * kMs;
  reactor->arm(moment);
  reactor->arm(Reactor::kNever);
  pass(moment + kMs);
  reactor->poll();
  CHECK_FALSE(reactor->moment_came());
  reactor->wait(pyw::monotonic_ns());
  CHECK(reactor->moment_came());
}

TEST_CASE("reactor: one that is armed for earlier stays, one that is armed for later gives way") {
  Own reactor;
  const std::uint64_t now = pyw::monotonic_ns();
  reactor->arm(now + 2 * kMs);
  reactor->arm(now + 3'600'000 * kMs);
  reactor->wait(now + 3'600'000 * kMs);
  CHECK(reactor->moment_came());
  reactor->arm(pyw::monotonic_ns() + 3'600'000 * kMs);
  reactor->wait(pyw::monotonic_ns() + kMs);
  CHECK(reactor->moment_came());
}

TEST_CASE("reactor: a moment that came while it holds does not keep a lent loop awake") {
  Lent reactor;
  reactor->hold(true);
  reactor->arm(0);
  reactor.look();
  CHECK(reactor->moment_came());
  const Pair pair;
  Told told(*reactor);
  told.watch(pair.here.get(), kRead);
  std::thread peer([&] {
    pass(pyw::monotonic_ns() + 3 * kMs);
    pair.make_readable();
  });
  int looks = 0;
  for (; !reactor->has_events(); ++looks) reactor.wait();
  peer.join();
  CHECK(looks <= 3);
  CHECK(reactor->dispatch());
  CHECK(told.events.size() == 1);
}

TEST_CASE("reactor: wake ends the wait at hand, or the next one") {
  Own reactor;
  reactor->wake();
  reactor->wait(Reactor::kNever);
  for (int i = 0; i < 50; ++i) {
    std::thread other([&] { reactor->wake(); });
    reactor->wait(Reactor::kNever);
    other.join();
    reactor->poll();  // if the wake came after the wait had been ended by what the kernel likes to do
  }
  CHECK_FALSE(reactor->moment_came());
}

TEST_CASE("reactor: many threads may wake it at once") {
  Own reactor;
  constexpr int kThreads = 4, kTimes = 500;
  std::atomic<int> sent{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < kTimes; ++n) {
        sent.fetch_add(1);
        reactor->wake();
      }
    });
  // Each waits for what is sent after it looked: the last wake of all ends the last wait.
  while (sent.load() < kThreads * kTimes) reactor->wait(Reactor::kNever);
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("reactor: a child that drops what it inherited does not disturb the parent") {
  Own reactor;
  const Pair pair;
  Told told(*reactor);
  told.watch(pair.here.get(), kRead);
  reactor->poll();
  const std::uint64_t moment = pyw::monotonic_ns() + 5 * kMs;
  reactor->arm(moment);
  CHECK(was_well(forked([&] {
    if (!reactor->is_foreign()) return false;
    told.watcher.reset();
    Told another(*reactor);
    another.watcher->close();
    another.watcher.reset();
    reactor.reactor.reset();
    return true;
  })));
  CHECK_FALSE(reactor->is_foreign());
  pair.make_readable();
  look_and_tell(*reactor);
  CHECK(told.events.size() == 1);
  told.watcher->close();
  while (!reactor->moment_came()) reactor->wait(moment);
  CHECK(pyw::monotonic_ns() >= moment);
}

TEST_CASE("reactor: a child may renew it, and then both have one of their own") {
  Own reactor;
  const Pair first, second;
  Told told(*reactor), closed(*reactor);
  Pair gone;
  told.watch(first.here.get(), kRead);
  closed.watch(gone.here.get(), kRead);
  reactor->poll();
  const std::uint64_t moment = pyw::monotonic_ns() + 5 * kMs;
  reactor->arm(moment);
  reactor->begin_run();
  const bool well = was_well(forked([&] {
    gone.here.reset();
    if (!reactor->renew() || reactor->is_foreign()) return false;
    // What the parent watched is watched here as well, and what the child does stays in the child.
    second.make_readable();
    first.make_readable();
    look_and_tell(*reactor);
    if (told.take().size() != 1) return false;
    first.drain();
    if (!told.watcher->watch(first.here.get(), 0).ok()) return false;
    Told own(*reactor);
    if (!own.watcher->watch(second.here.get(), kRead).ok()) return false;
    look_and_tell(*reactor);
    if (own.take().size() != 1) return false;
    own.watcher.reset();
    do reactor->wait(pyw::monotonic_ns() + kMs);
    while (!reactor->moment_came());
    reactor->wake();
    reactor->wait(Reactor::kNever);
    told.watcher.reset();
    closed.watcher.reset();
    reactor.reactor.reset();
    return true;
  }));
  CHECK(well);
  reactor->end_run();
  CHECK_FALSE(reactor->moment_came());
  first.make_readable();
  look_and_tell(*reactor);
  CHECK(told.events.size() == 1);
  CHECK(closed.events.empty());
  told.watcher->close();
  while (!reactor->moment_came()) reactor->wait(moment);
  CHECK(pyw::monotonic_ns() >= moment);
  reactor->wake();
  reactor->wait(Reactor::kNever);
  closed.watcher.reset();
}

TEST_CASE("reactor: what another thread was in when the process was forked cannot be renewed") {
  Own reactor;
  reactor->begin_run();
  pid_t pid = -1;
  std::thread other([&] { pid = forked([&] { return !reactor->renew() && reactor->is_foreign(); }); });
  other.join();
  CHECK(was_well(pid));
  reactor->end_run();
  CHECK(was_well(forked([&] { return reactor->renew(); })));
}

TEST_CASE("reactor: a lent loop's cannot be renewed, and a child can drop it") {
  Lent reactor;
  const Pair pair;
  Told told(*reactor);
  told.watch(pair.here.get(), kRead);
  reactor.look();
  CHECK(was_well(forked([&] {
    if (reactor->renew()) return false;
    told.watcher.reset();
    reactor.reactor.reset();
    return true;
  })));
  pair.make_readable();
  reactor.look();
  CHECK(reactor->dispatch());
  CHECK(told.events.size() == 1);
}
