// Watchers whose mind is changed between the moment when something of them is noted and the moment when they are told.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>

#include "aio/reactor.hpp"

using pyw::UniqueFd;
using pyw::aio::Reactor;
using pyw::aio::Watcher;

namespace {

/// The first end can be read and written at once.
struct Pair {
  UniqueFd here, there;
  Pair() {
    std::array<int, 2> fds{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds.data()) == 0);
    here = UniqueFd(fds[0]);
    there = UniqueFd(fds[1]);
    REQUIRE(::write(there.get(), "x", 1) == 1);
  }
};

struct Told {
  int times = 0;
  int events = 0;
  static bool note(void* owner, int events) {
    auto* told = static_cast<Told*>(owner);
    ++told->times;
    told->events |= events;
    return true;
  }
};

}  // namespace

TEST_CASE("watcher: one that was noted, stopped and freed is not told") {
  auto reactor = Reactor::make().take();
  Pair pair;
  Told told;
  auto watcher = std::make_unique<Watcher>(*reactor, &told, Told::note);
  REQUIRE(watcher->watch(pair.here.get(), Watcher::kReadable));
  reactor->poll();
  REQUIRE(reactor->has_events());
  CHECK(watcher->watch(pair.here.get(), 0));
  watcher.reset();
  CHECK(reactor->dispatch());
  CHECK(told.times == 0);
}

TEST_CASE("watcher: one that was noted for what it does not want any more, and freed, is not told") {
  auto reactor = Reactor::make().take();
  Pair pair;
  Told told;
  auto watcher = std::make_unique<Watcher>(*reactor, &told, Told::note);
  REQUIRE(watcher->watch(pair.here.get(), Watcher::kReadable));
  reactor->poll();
  CHECK(watcher->watch(pair.here.get(), Watcher::kWritable));
  watcher.reset();
  CHECK(reactor->dispatch());
  CHECK(told.times == 0);
}

TEST_CASE("watcher: one that changes its mind to and fro is told once of what it wants at last") {
  auto reactor = Reactor::make().take();
  Pair pair;
  Told told;
  Watcher watcher(*reactor, &told, Told::note);
  REQUIRE(watcher.watch(pair.here.get(), Watcher::kReadable));
  reactor->poll();
  for (const int events : {0, Watcher::kWritable, Watcher::kReadable, Watcher::kReadable | Watcher::kWritable}) CHECK(watcher.watch(pair.here.get(), events));
  reactor->poll();
  CHECK(reactor->dispatch());
  CHECK(told.times == 1);
  CHECK(told.events == (Watcher::kReadable | Watcher::kWritable));
}
