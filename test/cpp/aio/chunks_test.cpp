#include "aio/chunks.hpp"

#include <doctest/doctest.h>

#include <cstdint>

using pyw::aio::Chunks;

TEST_CASE("chunks: what was pushed stays where it is and is found by its place, up and down, across the edges of blocks") {
  Chunks<std::uint64_t> chunks;
  CHECK(chunks.empty());
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = chunks.size(); i < 2'000; ++i) {
      chunks.push_back(i * 3);
      CHECK(chunks.back() == i * 3);
    }
    const std::uint64_t* first = &chunks[0];
    for (std::uint64_t i = 0; i < chunks.size(); ++i) REQUIRE(chunks[i] == i * 3);
    const std::size_t left = round == 0 ? 256 : round == 1 ? 257 : 1;
    while (chunks.size() > left) chunks.pop_back();
    CHECK(chunks.back() == (left - 1) * 3);
    CHECK(&chunks[0] == first);
  }
  chunks.pop_back();
  CHECK(chunks.empty());
}
