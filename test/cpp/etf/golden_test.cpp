#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "etf/terms.hpp"

// The vectors that test/golden/make_golden.escript wrote. What each must yield stands in tokens.txt, told by Erlang.

using namespace terms;

namespace {

const std::filesystem::path kFolder = std::filesystem::path(PYW_SOURCE_DIR) / "test/golden/etf";

struct Vector {
  std::string name, how, expected;
  std::vector<std::byte> bytes;
};

std::vector<std::byte> file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE_MESSAGE(in, path.string());
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const Bytes bytes = pyw::bytes_of(text);
  return {bytes.begin(), bytes.end()};
}

const std::vector<Vector>& vectors() {
  static const std::vector<Vector> all = [] {
    std::vector<Vector> found;
    std::ifstream in(kFolder / "tokens.txt");
    for (std::string line; std::getline(in, line);) {
      Vector v;
      std::istringstream columns(line);
      std::getline(columns, v.name, '\t');
      std::getline(columns, v.how, '\t');
      std::getline(columns, v.expected);
      v.bytes = file(kFolder / (v.name + ".etf"));
      found.push_back(std::move(v));
    }
    return found;
  }();
  return all;
}

bool skips(Bytes input, std::string* error = nullptr) {
  Reader in(input);
  const bool ok = in.version() && in.skip() && in.at_end();
  if (error) *error = in.error();
  return ok;
}

/// Walking and skipping must agree, and what was read must be readable when it is written again.
void check_consistent(Bytes input) {
  const Told told = tell_all(input);
  CHECK(told.ok == skips(input));
  if (!told.ok) return;
  Reader in(input);
  Writer out(1u << 20);
  REQUIRE(copy(in, out));
  const Told again = tell_all(out.buffer());
  std::string expected = told.tokens;  // headers of lists without elements are the one thing that is not written again
  for (std::size_t at; (at = (" " + expected).find(" l/0 ")) != std::string::npos;) expected.erase(at, 4);
  CHECK(again.tokens == expected);
}

}  // namespace

TEST_CASE("golden: there are vectors, and no file without a line") {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) files += entry.path().extension() == ".etf" ? 1 : 0;
  CHECK(vectors().size() > 150);
  CHECK(files == vectors().size());
}

TEST_CASE("golden: the reader hands out the tokens that Erlang tells, or refuses for the reason expected") {
  for (const Vector& v : vectors()) {
    CAPTURE(v.name);
    const Exact exact(v.bytes);
    const Told told = tell_all(exact.get());
    CAPTURE(told.error);
    if (v.how == "refuses") {
      CHECK_FALSE(told.ok);
      CHECK(told.error.find(v.expected) != std::string::npos);
    } else {
      CHECK(told.ok);
      CHECK(told.error.empty());
      CHECK(told.tokens == v.expected);
    }
  }
}

TEST_CASE("golden: a copy token by token has the same bytes") {
  for (const Vector& v : vectors()) {
    CAPTURE(v.name);
    if (v.how == "refuses") continue;
    Reader in(v.bytes);
    Writer out(1u << 20);
    REQUIRE(copy(in, out));
    if (v.how == "copy") CHECK(out.buffer() == v.bytes);
    // A form that the writer does not choose: the copy is in the chosen one, and stays as it is.
    Reader again(out.buffer());
    Writer second(1u << 20);
    REQUIRE(copy(again, second));
    CHECK(second.buffer() == out.buffer());
  }
}

TEST_CASE("golden: skip steps over exactly the term, and refuses what next refuses") {
  for (const Vector& v : vectors()) {
    CAPTURE(v.name);
    if (v.how == "refuses") {
      CHECK_FALSE(skips(v.bytes));
      continue;
    }
    std::vector<std::byte> twice = v.bytes;
    twice.push_back(std::byte{106});
    Reader in(twice);
    Bytes encoded;
    REQUIRE(in.version());
    REQUIRE(in.skip(&encoded));
    CHECK(in.offset() == v.bytes.size());
    CHECK(encoded.size() == v.bytes.size() - 1);
    CHECK(encoded.data() == twice.data() + 1);
    Token token;
    CHECK(in.next(token));
    CHECK(in.at_end());
  }
}

TEST_CASE("golden: no beginning of a vector is a term, and none is read past its end") {
  for (const Vector& v : vectors()) {
    CAPTURE(v.name);
    const std::size_t size = v.bytes.size();
    for (std::size_t length = 0; length < size; length += length < 700 || length + 50 > size ? 1 : 97) {
      const Exact exact(Bytes(v.bytes).first(length));
      std::string error;
      const bool walked = tell_all(exact.get()).ok;
      const bool skipped = skips(exact.get(), &error);
      if (walked || skipped || error.empty()) {
        CAPTURE(length);
        CHECK_FALSE(walked);
        CHECK_FALSE(skipped);
        CHECK_FALSE(error.empty());
      }
    }
  }
}

TEST_CASE("golden: a wrong byte anywhere is read consistently or refused") {
  const std::string interesting("\x00\x01\x02\x7F\x80\xFF"
                                "FMPXYZRabcdefghijklmnopqrstuvwxy", 38);
  for (const Vector& v : vectors()) {
    CAPTURE(v.name);
    const std::size_t end = std::min<std::size_t>(v.bytes.size(), v.bytes.size() > 300 ? 64 : 300);
    if (v.bytes.size() > 6000) continue;  // as text these are slow to compare; their kinds have small vectors too
    for (std::size_t at = 0; at < end; ++at) {
      Exact exact(v.bytes);
      const std::byte right = exact[at];
      for (const char wrong : interesting) {
        exact[at] = static_cast<std::byte>(wrong);
        check_consistent(exact.get());
      }
      for (int bit = 0; bit < 8; ++bit) {
        exact[at] = right ^ static_cast<std::byte>(1 << bit);
        check_consistent(exact.get());
      }
    }
  }
}
