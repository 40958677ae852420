#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <vector>

#include "etf/reader.hpp"
#include "etf/writer.hpp"

using namespace pyw;

namespace {

std::vector<std::byte> written(std::initializer_list<double> values, bool in_one) {
  etf::Writer out(1000);
  const std::vector<double> all(values);
  if (in_one) out.reals(all);
  else
    for (const double value : all) out.real(value);
  return out.buffer();
}

}  // namespace

TEST_CASE("a run of floats is written as the floats one by one are") {
  const auto numbers = {0.0, -0.0, 1.5, -1e308, std::numeric_limits<double>::denorm_min()};
  CHECK(written(numbers, true) == written(numbers, false));
}

TEST_CASE("a run of floats over the limit overflows like any other token") {
  etf::Writer out(20);
  out.reals(std::array{1.0, 2.0, 3.0});
  CHECK(out.overflowed());
  CHECK(out.buffer().empty());
}

TEST_CASE("a run of floats ends before what is none, before one that is not finite, at a cut, and at the limit of elements") {
  auto bytes = written({1.0, 2.0, 3.0}, true);
  std::array<double, 8> got{};
  SUBCASE("another token") {
    bytes.push_back(std::byte{97});
    bytes.push_back(std::byte{7});
    etf::Reader in(bytes);
    CHECK(in.next_reals(got) == 3);
    etf::Token token;
    REQUIRE(in.next(token));
    CHECK(token.integer == 7);
  }
  SUBCASE("not finite: next() says so") {
    bytes[10] = std::byte{0x7f};
    bytes[11] = std::byte{0xf0};
    etf::Reader in(bytes);
    CHECK(in.next_reals(got) == 1);
    etf::Token token;
    CHECK_FALSE(in.next(token));
    CHECK(in.error().find("finite") != std::string::npos);
  }
  SUBCASE("every cut") {
    for (std::size_t size = 0; size <= bytes.size(); ++size) {
      const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      etf::Reader in(cut);
      CHECK(in.next_reals(got) == size / 9);
    }
  }
  SUBCASE("room for fewer") {
    etf::Reader in(bytes);
    CHECK(in.next_reals({got.data(), 2}) == 2);
    CHECK(in.offset() == 18);
  }
  SUBCASE("the limit of elements") {
    etf::Reader in(bytes, {.max_depth = 1, .max_elements = 2});
    CHECK(in.next_reals(got) == 2);
  }
}
