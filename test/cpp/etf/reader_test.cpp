#include <doctest/doctest.h>

#include <limits>

#include "etf/terms.hpp"

using namespace terms;
using pyw::bytes_of;
using pyw::text_of;
using pyw::etf::Limits;

namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (int value : values) text += static_cast<char>(value);
  return text;
}

std::string size32(std::size_t n) { return bytes({int(n >> 24 & 255), int(n >> 16 & 255), int(n >> 8 & 255), int(n & 255)}); }

/// A fun of no module to speak of, with one captured term.
std::string fun_with(const std::string& captured) {
  const std::string atom = bytes({119, 1, 'm'}), node = bytes({119, 1, 'n'});
  const std::string rest = std::string(1 + 16 + 4, '\0') + size32(1) + atom + bytes({97, 0, 97, 0, 88}) + node + std::string(12, '\0') + captured;
  return bytes({112}) + size32(4 + rest.size()) + rest;
}

bool skip_all(const std::string& term, std::string& error, Limits limits = {}) {
  Reader in(bytes_of(term), limits);
  const bool ok = in.skip() && in.at_end();
  error = in.error();
  return ok;
}

}  // namespace

TEST_CASE("reader: a term begins with its version byte") {
  for (const std::string& input : {bytes({}), bytes({130, 106}), bytes({106})}) {
    Reader in(bytes_of(input));
    CHECK_FALSE(in.version());
    CHECK_FALSE(in.error().empty());
    Token token;
    CHECK_FALSE(in.next(token));
  }
}

TEST_CASE("reader: a failed reader stays failed and keeps the first reason") {
  const std::string input = bytes({97, 1, 97, 2});
  Reader in(bytes_of(input));
  Token token;
  REQUIRE(in.next(token));
  CHECK_FALSE(in.fail("not a name"));
  CHECK_FALSE(in.fail("something else"));
  CHECK_FALSE(in.next(token));
  CHECK_FALSE(in.skip());
  CHECK_FALSE(in.at_end());
  CHECK(in.error() == "not a name");
}

TEST_CASE("reader: failing at the very end is not reaching it") {
  const std::string input = bytes({97, 1});
  Reader in(bytes_of(input));
  Token token;
  REQUIRE(in.next(token));
  REQUIRE(in.at_end());
  CHECK_FALSE(in.next(token));
  CHECK_FALSE(in.at_end());
}

TEST_CASE("reader: a token has nothing left over from the token before") {
  const std::string input = bytes({77, 0, 0, 0, 1, 3, 0xE0, 110, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 97, 7, 106});
  Reader in(bytes_of(input));
  Token token;
  REQUIRE(in.next(token));
  CHECK(token.last_bits == 3);
  REQUIRE(in.next(token));
  CHECK(token.negative);
  CHECK(token.last_bits == 8);
  REQUIRE(in.next(token));
  CHECK_FALSE(token.negative);
  CHECK(token.bytes.empty());
  REQUIRE(in.next(token));
  CHECK(token.integer == 0);
}

TEST_CASE("reader: text of binaries, strings and UTF-8 atoms is the input's own memory") {
  const std::string input = bytes({104, 3, 109, 0, 0, 0, 1, 'x', 107, 0, 1, 'y', 119, 1, 'z'});
  Reader in(bytes_of(input));
  Token token;
  REQUIRE(in.next(token));
  for (const std::size_t at : {7u, 11u, 14u}) {
    REQUIRE(in.next(token));
    CHECK(token.bytes.data() == bytes_of(input).data() + at);
  }
}

TEST_CASE("reader: as many levels as the limit says, and no more") {
  Reader in(Bytes{}, Limits{.max_depth = 2});
  CHECK(in.enter());
  CHECK(in.enter());
  in.leave();
  CHECK(in.enter());
  CHECK_FALSE(in.enter());
  CHECK(in.error().find("deeper than 2 levels") != std::string::npos);
}

TEST_CASE("reader: as many elements as the limit says, all levels together, and no more") {
  const std::string input = bytes({104, 2, 104, 1, 97, 1, 106});  // {{1}, []}: four tokens
  std::string error;
  for (std::uint64_t limit = 0; limit <= 5; ++limit) {
    CAPTURE(limit);
    CHECK(skip_all(input, error, Limits{.max_elements = limit}) == (limit >= 4));
    CHECK(error.empty() == (limit >= 4));
  }
}

TEST_CASE("reader: the limit of elements is known from a count, before the elements come") {
  const std::string input = bytes({104, 4, 106, 106, 106, 106});
  Reader in(bytes_of(input), Limits{.max_elements = 4});
  Token token;
  CHECK_FALSE(in.next(token));
}

TEST_CASE("reader: captured terms of a fun count as elements") {
  const std::string input = fun_with(fun_with(bytes({104, 2, 106, 106})));  // 3, and each fun with its module, two numbers, pid and node 6
  std::string error;
  CHECK(skip_all(input, error, Limits{.max_elements = 15}));
  CHECK_FALSE(skip_all(input, error, Limits{.max_elements = 14}));
}

TEST_CASE("reader: counts that are open at one time never promise more terms than there are bytes") {
  // Each level claims all bytes behind it: a caller that reserves what a count says would reserve the square of the input.
  std::string input;
  for (int left = 100; left > 0; --left) input += bytes({104, 2 * left - 2});
  Reader in(bytes_of(input));
  Token token;
  std::uint64_t reserved = 0;
  while (in.next(token)) reserved += token.count;
  CHECK(reserved <= input.size());
  CHECK(in.error().find("too few") != std::string::npos);
}

TEST_CASE("reader: a count that just fits is taken, one more is not") {
  for (const auto& [tag, per] : {std::pair{105, 1}, std::pair{116, 2}, std::pair{108, 1}}) {
    CAPTURE(tag);
    const std::size_t terms = tag == 108 ? 7 : 6;
    std::string error;
    const std::string body(terms, char(106));
    CHECK(skip_all(bytes({tag}) + size32(6 / std::size_t(per)) + body, error));
    CHECK_FALSE(skip_all(bytes({tag}) + size32(6 / std::size_t(per) + 1) + body, error));
    CHECK_FALSE(skip_all(bytes({tag}) + size32(0xFFFFFFFF) + body, error));
  }
}

TEST_CASE("reader: a million levels are skipped without a stack") {
  constexpr std::size_t kLevels = 1000000;
  std::string error;
  std::string lists;
  for (std::size_t i = 0; i < kLevels; ++i) lists += bytes({108, 0, 0, 0, 1});
  CHECK(skip_all(lists + std::string(kLevels + 1, char(106)), error));
  std::string tuples;
  for (std::size_t i = 0; i < kLevels; ++i) tuples += bytes({104, 1});
  CHECK(skip_all(tuples + bytes({106}), error));
  CHECK_FALSE(skip_all(tuples, error));
}

TEST_CASE("reader: pids inside of pids, and exports inside of exports, do not recurse") {
  for (const int tag : {103, 88, 102, 89, 120, 101, 113}) {
    std::string error;
    CHECK_FALSE(skip_all(std::string(1000000, char(tag)), error));
    CHECK(error.find("wrong kind") != std::string::npos);
  }
  std::string error;
  std::string references;
  for (int i = 0; i < 300000; ++i) references += bytes({90, 0, 1});
  CHECK_FALSE(skip_all(references, error));
}

TEST_CASE("reader: funs inside of funs are followed as deep as the limit, with a stack of their own") {
  std::string nested = bytes({106});
  for (int level = 0; level < 200; ++level) nested = fun_with(nested);
  std::string error;
  CHECK(skip_all(nested, error, Limits{.max_depth = 199}));
  CHECK_FALSE(skip_all(nested, error, Limits{.max_depth = 198}));
  CHECK(error.find("funs are nested deeper") != std::string::npos);
  Reader in(bytes_of(nested));
  Token token;
  REQUIRE(in.next(token));
  CHECK(token.kind == Kind::fun);
  CHECK(text_of(token.bytes) == nested);
}

TEST_CASE("reader: headers of funs without end are refused, not followed") {
  std::string header = fun_with("");
  std::string endless;
  for (int i = 0; i < 50000; ++i) endless += header;
  std::string error;
  CHECK_FALSE(skip_all(endless, error));
  CHECK_FALSE(error.empty());
}

TEST_CASE("reader: a fun ends where its size field says, also inside of another") {
  for (const int off : {-1, 1}) {
    std::string inner = fun_with(bytes({97, 1}));
    inner[4] = static_cast<char>(inner[4] + off);
    std::string error;
    CHECK_FALSE(skip_all(inner + bytes({106}), error));
    CHECK_FALSE(skip_all(fun_with(inner) + bytes({106}), error));
    CHECK(error.find("size field") != std::string::npos);
  }
}

TEST_CASE("reader: a list of 65,536 bytes is a list, not a string") {
  Writer out(1u << 20);
  out.list(65536);
  for (int i = 0; i < 65536; ++i) out.integer(i & 255);
  out.nil();
  Reader in(out.buffer());
  Token token;
  REQUIRE(in.next(token));
  CHECK(token.kind == Kind::list);
  CHECK(token.count == 65536);
  std::uint64_t sum = 0;
  for (int i = 0; i < 65536; ++i) {
    REQUIRE(in.next(token));
    sum += static_cast<std::uint64_t>(token.integer);
  }
  CHECK(sum == 256 * 255 * 128);
  CHECK((in.next(token) && token.kind == Kind::nil && in.at_end()));
}

TEST_CASE("reader: a map of 100,000 keys arrives whole") {
  constexpr std::uint32_t kPairs = 100000;
  Writer out(16u << 20);
  out.map(kPairs);
  for (std::uint32_t i = 0; i < kPairs; ++i) {
    out.binary("key " + std::to_string(i));
    out.integer(std::int64_t{i} * 100003);
  }
  REQUIRE_FALSE(out.overflowed());
  Reader in(out.buffer());
  Token token;
  REQUIRE(in.next(token));
  REQUIRE(token.count == kPairs);
  for (std::uint32_t i = 0; i < kPairs; ++i) {
    REQUIRE(in.next(token));
    REQUIRE(text_of(token.bytes) == "key " + std::to_string(i));
    REQUIRE(in.next(token));
    REQUIRE(token.integer == std::int64_t{i} * 100003);
  }
  CHECK(in.at_end());
}
