// Ring: a queue that is used round and round.
#include <doctest/doctest.h>

#include <deque>
#include <memory>
#include <random>

#include "aio/ring.hpp"

using pyw::aio::Ring;

TEST_CASE("ring: what goes in comes out in the same order, whatever the mixture of pushes and pops") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    Ring<int> ring;
    std::deque<int> model;
    for (int i = 0; i < 5000; ++i) {
      // Long runs of one kind, so that it grows while it is wrapped, and becomes empty again.
      if (random() % 100 < (i / 500 % 2 ? 30u : 70u)) {
        ring.push(i);
        model.push_back(i);
      } else if (!model.empty()) {
        REQUIRE(ring.pop() == model.front());
        model.pop_front();
      }
      REQUIRE(ring.size() == model.size());
      REQUIRE(ring.empty() == model.empty());
      if (!model.empty()) {
        const std::size_t at = random() % model.size();
        REQUIRE(ring.at(at) == model[at]);
      }
    }
  }
}

TEST_CASE("ring: growing keeps the order at every place of the first element") {
  for (int shift = 0; shift < 130; ++shift) {
    CAPTURE(shift);
    Ring<int> ring;
    for (int i = 0; i < shift; ++i) {
      ring.push(-1);
      ring.pop();
    }
    for (int i = 0; i < 200; ++i) ring.push(i);
    for (int i = 0; i < 200; ++i) REQUIRE(ring.pop() == i);
    CHECK(ring.empty());
  }
}

TEST_CASE("ring: what is popped is the ring's no longer") {
  Ring<std::shared_ptr<int>> ring;
  const auto value = std::make_shared<int>(1);
  for (int i = 0; i < 100; ++i) ring.push(value);
  CHECK(value.use_count() == 101);
  for (int i = 0; i < 100; ++i) ring.pop();
  CHECK(value.use_count() == 1);
}
