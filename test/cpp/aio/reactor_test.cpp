// Reactor: who is told what, and when.
#include <netinet/in.h>

#include <random>
#include <thread>

#include "aio/reactor_bed.hpp"

using namespace bed;
using Events = std::vector<int>;
constexpr int kRead = Watcher::kReadable, kWrite = Watcher::kWritable;

TEST_CASE("reactor: a watcher is told what is ready of what it asked for, as long as it is ready") {
  Own reactor;
  const Pair pair;
  Told told(*reactor);
  told.watch(pair.here.get(), kRead);
  CHECK(look_and_tell(*reactor));
  CHECK(told.take().empty());
  pair.make_readable();
  for (int i = 0; i < 3; ++i) {
    look_and_tell(*reactor);
    CHECK(told.take() == Events{kRead});
  }
  told.watch(pair.here.get(), kRead | kWrite);
  look_and_tell(*reactor);
  CHECK(told.take() == Events{kRead | kWrite});
  told.watch(pair.here.get(), kWrite);
  look_and_tell(*reactor);
  CHECK(told.take() == Events{kWrite});
  told.watch(pair.here.get(), 0);
  look_and_tell(*reactor);
  CHECK(told.take().empty());
  told.watch(pair.here.get(), kRead);
  look_and_tell(*reactor);
  CHECK(told.take() == Events{kRead});
  pair.drain();
  look_and_tell(*reactor);
  CHECK(told.take().empty());
}

TEST_CASE("reactor: what nobody wants any more when it is told is not told") {
  Own reactor;
  const Pair one, two;
  Told changed(*reactor), closed(*reactor);
  changed.watch(one.here.get(), kRead | kWrite);
  closed.watch(two.here.get(), kRead);
  one.make_readable();
  two.make_readable();
  reactor->poll();
  CHECK(reactor->has_events());
  changed.watch(one.here.get(), kWrite);
  closed.watcher->close();
  CHECK(reactor->dispatch());
  CHECK(changed.events == Events{kWrite});
  CHECK(closed.events.empty());
  CHECK_FALSE(reactor->has_events());
}

TEST_CASE("reactor: a watcher may end in its own callback, and the others are told") {
  Own reactor;
  const Pair pairs[3];
  Told told[3]{Told(*reactor), Told(*reactor), Told(*reactor)};
  for (int i = 0; i < 3; ++i) {
    told[i].watch(pairs[i].here.get(), kRead);
    pairs[i].make_readable();
    told[i].then = [&, i](int) { return told[i].watcher.reset(), true; };
  }
  look_and_tell(*reactor);
  look_and_tell(*reactor);
  for (Told& each : told) CHECK(each.events.size() == 1);
}

TEST_CASE("reactor: a watcher may end in another one's callback, and is not told then") {
  Own reactor;
  const Pair pairs[3];
  Told told[3]{Told(*reactor), Told(*reactor), Told(*reactor)};
  int calls = 0;
  for (int i = 0; i < 3; ++i) {
    told[i].watch(pairs[i].here.get(), kRead);
    pairs[i].make_readable();
    told[i].then = [&, i](int) {
      ++calls;
      for (int other = 0; other < 3; ++other)
        if (other != i) told[other].watcher.reset();
      return true;
    };
  }
  look_and_tell(*reactor);
  CHECK(calls == 1);
}

TEST_CASE("reactor: a callback may start watchers, on the very number that it has closed as well") {
  Own reactor;
  Pair old, ready;
  Told first(*reactor), second(*reactor);
  first.watch(old.here.get(), kRead);
  old.make_readable();
  ready.make_readable();
  first.then = [&](int) {
    const int number = old.here.get();
    first.watcher->close();
    REQUIRE(::dup2(ready.here.get(), number) == number);
    second.watch(number, kRead);
    return true;
  };
  look_and_tell(*reactor);
  CHECK(second.events.empty());
  look_and_tell(*reactor);
  CHECK(first.events == Events{kRead});
  CHECK(second.events == Events{kRead});
  second.watcher->close();
}

TEST_CASE("reactor: who says false ends the dispatching, and the others are told the next time") {
  Own reactor;
  const Pair pairs[4];
  Told told[4]{Told(*reactor), Told(*reactor), Told(*reactor), Told(*reactor)};
  int calls = 0;
  for (int i = 0; i < 4; ++i) {
    told[i].watch(pairs[i].here.get(), kRead);
    pairs[i].make_readable();
    told[i].then = [&](int) { return ++calls != 2; };
  }
  reactor->poll();
  CHECK_FALSE(reactor->dispatch());
  CHECK(calls == 2);
  CHECK(reactor->has_events());
  CHECK(reactor->dispatch());
  CHECK(calls == 4);
  for (Told& each : told) CHECK(each.events.size() == 1);
}

TEST_CASE("reactor: a dispatch within a callback loses nothing, also when somebody ends it") {
  Own reactor;
  const Pair pairs[6];
  std::vector<std::unique_ptr<Told>> told;
  int depth = 0, calls = 0;
  for (int i = 0; i < 6; ++i) {
    told.push_back(std::make_unique<Told>(*reactor));
    told.back()->then = [&, i](int) {
      pairs[i].drain();
      if (++calls == 1) {
        ++depth;
        for (int more = 4; more < 6; ++more) told[static_cast<std::size_t>(more)]->watch(pairs[more].here.get(), kRead);
        look_and_tell(*reactor);
        reactor->poll();  // noted, and left to the outer one
      }
      return calls != 3;
    };
  }
  for (const Pair& pair : pairs) pair.make_readable();
  for (std::size_t i = 0; i < 4; ++i) told[i]->watch(pairs[i].here.get(), kRead);
  reactor->poll();
  reactor->dispatch();
  for (int i = 0; i < 3 && calls < 6; ++i) look_and_tell(*reactor);
  CHECK(calls == 6);
  for (auto& each : told) CHECK(each->events == Events{kRead});
}

TEST_CASE("reactor: what cannot be watched is said at once") {
  Own reactor;
  Told told(*reactor);
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  CHECK_FALSE(told.watcher->watch(file.get(), kRead).ok());
  CHECK(errno == EPERM);
  CHECK_FALSE(told.watcher->watch(999'999, kRead).ok());
  CHECK(errno == EBADF);
  const Pair pair;
  told.watch(pair.here.get(), kWrite);
  look_and_tell(*reactor);
  CHECK(told.events == Events{kWrite});
}

TEST_CASE("reactor: descriptors that were closed before the kernel was shown them are none of our business") {
  Own reactor;
  Told closed(*reactor), replaced(*reactor), file(*reactor), fine(*reactor);
  Pair one, two, three, pair, other;
  closed.watch(one.here.get(), kRead);
  replaced.watch(two.here.get(), kRead);
  file.watch(three.here.get(), kRead);
  fine.watch(pair.here.get(), kRead);
  pair.make_readable();
  one.here.reset();
  REQUIRE(::dup2(other.here.get(), two.here.get()) >= 0);
  const UniqueFd regular(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  REQUIRE(::dup2(regular.get(), three.here.get()) >= 0);
  for (int i = 0; i < 3; ++i) look_and_tell(*reactor);
  CHECK(fine.events.size() == 3);
  CHECK(closed.events.empty());
  CHECK(file.events.empty());
}

TEST_CASE("reactor: a watcher that outlives it does nothing") {
  Pair pair;
  std::vector<std::unique_ptr<Told>> told;
  {
    Own reactor;
    for (int i = 0; i < 3; ++i) told.push_back(std::make_unique<Told>(*reactor));
    told[0]->watch(pair.here.get(), kRead);
    told[1]->watch(pair.there.get(), kWrite);
    reactor->poll();
    told[2].reset();
  }
  CHECK_FALSE(told[0]->watcher->watch(pair.here.get(), kRead | kWrite).ok());
  CHECK(errno == EBADF);
  told[0]->watcher->close();
  CHECK(told[1]->events.empty());
}

TEST_CASE("reactor: an error or a hang-up is everything that was asked for, again and again") {
  Own reactor;
  SUBCASE("a connection that is refused") {
    UniqueFd closed(::socket(AF_INET, SOCK_STREAM, 0)), client(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(closed.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::getsockname(closed.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    closed.reset();
    (void)::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size);
    Told told(*reactor);
    told.watch(client.get(), kWrite);
    while (told.events.empty()) {
      reactor->wait(Reactor::kNever);
      reactor->dispatch();
    }
    CHECK(told.take() == Events{kWrite});
    look_and_tell(*reactor);
    CHECK(told.take() == Events{kWrite});
    told.watcher.reset();
  }
  SUBCASE("a pipe whose reader is gone") {
    int fds[2];
    REQUIRE(::pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
    UniqueFd reader(fds[0]), writer(fds[1]);
    while (::write(writer.get(), "0123456789", 10) > 0) {
    }
    Told told(*reactor);
    told.watch(writer.get(), kWrite);
    look_and_tell(*reactor);
    CHECK(told.take().empty());
    reader.reset();
    for (int i = 0; i < 3; ++i) {
      look_and_tell(*reactor);
      CHECK(told.take() == Events{kWrite});
    }
    told.watcher.reset();
  }
  SUBCASE("a peer that is gone") {
    Pair pair;
    Told told(*reactor);
    told.watch(pair.here.get(), kRead);
    pair.there.reset();
    for (int i = 0; i < 3; ++i) {
      look_and_tell(*reactor);
      CHECK(told.take() == Events{kRead});
    }
    told.watcher.reset();
  }
}

TEST_CASE("reactor: while it holds, a descriptor that stays ready does not keep a lent loop awake, and nothing is lost") {
  Lent reactor;
  const Pair pair;
  Told told(*reactor);
  told.watch(pair.here.get(), kRead);
  pair.make_readable();
  reactor->hold(true);
  reactor.look();
  CHECK(reactor->has_events());
  reactor->arm(pyw::monotonic_ns() + 2 * kMs);
  const std::uint64_t began = pyw::monotonic_ns();
  while (!reactor->moment_came()) reactor.wait();  // would spin, and end all the same: so the turns are counted by the time below
  CHECK(pyw::monotonic_ns() - began >= 1 * kMs);
  CHECK(told.events.empty());
  CHECK(reactor->dispatch());
  CHECK(told.take() == Events{kRead});
  // It is watched again.
  reactor->hold(false);
  reactor.look();
  CHECK(reactor->dispatch());
  CHECK(told.take() == Events{kRead});
}

TEST_CASE("reactor: any number of watchers that come, change and go is told exactly what is ready and wanted") {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    Own reactor;
    struct Peer {
      Pair pair;
      std::unique_ptr<Told> told;
      int bytes = 0, wanted = 0;
    };
    std::vector<std::unique_ptr<Peer>> peers;
    for (int step = 0; step < 600; ++step) {
      if (peers.size() < 30 && random() % 3 == 0) {
        peers.push_back(std::make_unique<Peer>());
        peers.back()->told = std::make_unique<Told>(*reactor);
      }
      if (!peers.empty()) {
        Peer& peer = *peers[random() % peers.size()];
        switch (random() % 5) {
          case 0:
            peer.pair.make_readable();
            ++peer.bytes;
            break;
          case 1:
            if (peer.bytes > 0) peer.pair.drain(), --peer.bytes;
            break;
          case 2:
          case 3:
            peer.wanted = static_cast<int>(random() % 4);
            peer.told->watch(peer.pair.here.get(), peer.wanted);
            break;
          default:
            peer.told.reset();  // before its descriptor
            std::swap(peers[random() % peers.size()], peers.back());
            std::erase_if(peers, [](const auto& each) { return !each->told; });
        }
      }
      REQUIRE(look_and_tell(*reactor));
      for (const auto& peer : peers) {
        const int ready = peer->wanted & ((peer->bytes > 0 ? kRead : 0) | kWrite);
        REQUIRE(peer->told->take() == (ready ? Events{ready} : Events{}));
      }
    }
    for (const auto& peer : peers) peer->told.reset();
  }
}
