// TimerHeap against a list that is sorted each time.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "aio/timer_heap.hpp"

namespace {

struct Timer {
  std::size_t place = 0;
  int name = 0;
};
using Heap = pyw::aio::TimerHeap<Timer*>;

struct Model {
  struct Entry {
    std::uint64_t due;
    int name;
    Timer* timer;
    bool operator<(const Entry& other) const { return due != other.due ? due < other.due : name < other.name; }
  };
  std::set<Entry> entries;  ///< names are given in the order of adding, so this is the order of the heap
  std::vector<std::unique_ptr<Timer>> timers;

  Timer* add(Heap& heap, std::uint64_t due) {
    timers.push_back(std::make_unique<Timer>());
    Timer* timer = timers.back().get();
    timer->name = static_cast<int>(timers.size());
    heap.add(due, timer);
    entries.insert({due, timer->name, timer});
    return timer;
  }
};

std::size_t count(const Heap& heap) {
  std::size_t n = 0;
  heap.each([&](Timer*) { return ++n, 0; });
  return n;
}

}  // namespace

TEST_CASE("timer heap: any mixture of adding, cancelling and taking gives the timers in the order of their times") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::uint64_t range = seed % 2 ? 10 : 1'000'000;  // many equal times, and hardly any
    Heap heap;
    Model model;
    for (int i = 0; i < 2000; ++i) {
      const unsigned what = random() % 10;
      if (what < 5 || model.entries.empty()) {
        model.add(heap, random() % range);
      } else if (what < 8) {
        const auto victim = std::next(model.entries.begin(), static_cast<std::ptrdiff_t>(random() % model.entries.size()));
        heap.remove(victim->timer);
        model.entries.erase(victim);
      } else {
        REQUIRE(heap.take() == model.entries.begin()->timer);
        model.entries.erase(model.entries.begin());
      }
      REQUIRE(heap.size() == model.entries.size());
      REQUIRE(heap.empty() == model.entries.empty());
      if (!heap.empty()) REQUIRE(heap.next_due() == model.entries.begin()->due);
    }
    REQUIRE(count(heap) == model.entries.size());
    while (!heap.empty()) {
      REQUIRE(heap.take() == model.entries.begin()->timer);
      model.entries.erase(model.entries.begin());
    }
  }
}

TEST_CASE("timer heap: equal times keep the order in which they were added, also when others between them are cancelled") {
  Heap heap;
  Model model;
  for (int i = 0; i < 200; ++i) model.add(heap, 7);
  for (std::size_t i = 0; i < 200; i += 3) heap.remove(model.timers[i].get());
  for (std::size_t i = 0; i < 200; ++i)
    if (i % 3 != 0) REQUIRE(heap.take() == model.timers[i].get());
  CHECK(heap.empty());
}

TEST_CASE("timer heap: a timer that was added again counts as the last of its time") {
  Heap heap;
  Model model;
  Timer* first = model.add(heap, 7);
  Timer* second = model.add(heap, 7);
  heap.remove(first);
  heap.add(7, first);
  CHECK(heap.take() == second);
  CHECK(heap.take() == first);
}

TEST_CASE("timer heap: each timer's place is right, so every one can be removed by it") {
  std::mt19937 random(3);
  Heap heap;
  Model model;
  for (int i = 0; i < 300; ++i) model.add(heap, random() % 50);
  std::vector<Timer*> all;
  for (auto& timer : model.timers) all.push_back(timer.get());
  std::shuffle(all.begin(), all.end(), random);
  for (Timer* timer : all) {
    std::set<std::size_t> places;
    heap.each([&](Timer* each) { return places.insert(each->place), 0; });
    REQUIRE(places.size() == heap.size());
    REQUIRE(*places.rbegin() == heap.size() - 1);
    heap.remove(timer);
    int found = 0;
    heap.each([&](Timer* each) { return found += each == timer, 0; });
    REQUIRE(found == 0);
  }
  CHECK(heap.empty());
}

TEST_CASE("timer heap: the ends of the clock are times like others") {
  Heap heap;
  Model model;
  Timer* last = model.add(heap, ~std::uint64_t{0} - 1);
  Timer* first = model.add(heap, 0);
  CHECK(heap.next_due() == 0);
  CHECK(heap.take() == first);
  CHECK(heap.next_due() == ~std::uint64_t{0} - 1);
  CHECK(heap.take() == last);
}

TEST_CASE("timer heap: take_any hands out each timer once, and each() stops when it is told to") {
  Heap heap;
  Model model;
  for (int i = 0; i < 10; ++i) model.add(heap, static_cast<std::uint64_t>(10 - i));
  int looked = 0;
  CHECK(heap.each([&](Timer*) { return ++looked == 4 ? 42 : 0; }) == 42);
  CHECK(looked == 4);
  std::set<Timer*> taken;
  while (!heap.empty()) taken.insert(heap.take_any());
  CHECK(taken.size() == 10);
}
