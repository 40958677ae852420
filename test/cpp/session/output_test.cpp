#include "session/output.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace pyw::session;

namespace {

struct Lines {
  std::vector<std::string> got;
  LineSplitter::Sink sink = [this](std::string_view line, bool cut) { got.push_back(std::string(line) + (cut ? "…" : "")); };
};

}  // namespace

TEST_CASE("output lines: chunking never changes them") {
  const std::string text = "one\n\ntwo three\nlast";
  for (std::size_t chunk = 1; chunk <= text.size(); ++chunk) {
    CAPTURE(chunk);
    Lines lines;
    LineSplitter splitter(100);
    for (std::size_t at = 0; at < text.size(); at += chunk) splitter.feed(std::string_view(text).substr(at, chunk), lines.sink);
    CHECK(lines.got == std::vector<std::string>{"one", "", "two three"});
    splitter.flush(lines.sink);
    CHECK(lines.got.back() == "last");
  }
}

TEST_CASE("output lines: a line without end costs the limit and no more, and the next one is whole") {
  Lines lines;
  LineSplitter splitter(4);
  for (int i = 0; i < 1000; ++i) splitter.feed("xxxxxxxxxx", lines.sink);
  CHECK(lines.got.empty());
  splitter.feed("\nabcd\nabcde\n", lines.sink);
  CHECK(lines.got == std::vector<std::string>{"xxxx…", "abcd", "abcd…"});
}

TEST_CASE("output rate: a burst of one second's worth, then the rate, and slow drips add up") {
  constexpr std::uint64_t kMs = 1'000'000;
  RateLimit limit(10);
  int allowed = 0;
  for (int i = 0; i < 100; ++i) allowed += limit.allow(5'000 * kMs);
  CHECK(allowed == 10);
  CHECK_FALSE(limit.allow(5'050 * kMs));
  CHECK(limit.allow(5'100 * kMs));
  CHECK_FALSE(limit.allow(5'150 * kMs));
  CHECK(limit.allow(5'200 * kMs));
}
