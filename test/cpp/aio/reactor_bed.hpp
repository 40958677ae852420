#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "aio/reactor.hpp"
#include "base/clock.hpp"

/// What the tests of the reactor share: a reactor whose end is checked, descriptors, and a watcher that writes down what it is told.
namespace bed {

using pyw::UniqueFd;
using pyw::aio::Reactor;
using pyw::aio::Watcher;

constexpr std::uint64_t kMs = 1'000'000;

inline std::size_t open_fds() {
  static const bool warm = (pyw::uv::Loop(), true);  // libuv opens two for signals, once, and keeps them
  (void)warm;
  const auto entries = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries))) - 1;  // that of the look itself
}

/// Every handle that was made on this loop has been closed and, by its close callback, freed.
inline void check_no_handle_is_left(uv_loop_t* loop) {
  uv_run(loop, UV_RUN_DEFAULT);  // close callbacks
  int left = 0;
  uv_walk(loop, [](uv_handle_t*, void* count) { ++*static_cast<int*>(count); }, &left);
  CHECK(left == 0);
}

/// A reactor with a loop of its own, whose end insists that no handle is left; no descriptor is left either.
struct Own {
  std::size_t fds = open_fds();
  std::unique_ptr<Reactor> reactor;

  Own() {
    auto made = Reactor::make();
    REQUIRE(made.ok());
    reactor = made.take();
    reactor->be_wakeable();
  }
  ~Own() {
    reactor.reset();
    CHECK(open_fds() == fds);
  }
  Reactor* operator->() { return reactor.get(); }
  Reactor& operator*() { return *reactor; }
};

/// A reactor on a loop that the test runs.
struct Lent {
  std::size_t fds = open_fds();
  std::unique_ptr<pyw::uv::Loop> loop = std::make_unique<pyw::uv::Loop>();
  std::unique_ptr<Reactor> reactor;

  Lent() {
    auto made = Reactor::borrow(loop->get());
    REQUIRE(made.ok());
    reactor = made.take();
  }
  ~Lent() {
    reactor.reset();
    check_no_handle_is_left(loop->get());
    loop.reset();
    CHECK(open_fds() == fds);
  }
  void look() { uv_run(loop->get(), UV_RUN_NOWAIT); }
  void wait() { uv_run(loop->get(), UV_RUN_ONCE); }
  Reactor* operator->() { return reactor.get(); }
  Reactor& operator*() { return *reactor; }
};

/// Two connected, non-blocking sockets.
struct Pair {
  UniqueFd here, there;

  Pair() {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    here = UniqueFd(fds[0]);
    there = UniqueFd(fds[1]);
  }
  void make_readable() const { REQUIRE(::write(there.get(), "x", 1) == 1); }
  void drain() const {
    char byte;
    REQUIRE(::read(here.get(), &byte, 1) == 1);
  }
};

/// A watcher, and what it has been told.
struct Told {
  std::vector<int> events;
  std::function<bool(int)> then = [](int) { return true; };
  std::unique_ptr<Watcher> watcher;

  explicit Told(Reactor& reactor) : watcher(std::make_unique<Watcher>(reactor, this, told)) {}
  Told(const Told&) = delete;

  static bool told(void* owner, int events) {
    auto* self = static_cast<Told*>(owner);
    self->events.push_back(events);
    return self->then(events);
  }
  void watch(int fd, int wanted) { REQUIRE(watcher->watch(fd, wanted).ok()); }
  std::vector<int> take() { return std::exchange(events, {}); }
};

inline bool look_and_tell(Reactor& reactor) {
  reactor.poll();
  return reactor.dispatch();
}

/// Runs it in a child, which ends without any cleaning up. What it returns is whether all was well.
inline pid_t forked(const std::function<bool()>& child) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(child() ? 0 : 1);
  return pid;
}

inline bool was_well(pid_t pid) {
  int status = -1;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace bed
