#include "launcher/stat_line.hpp"

#include <doctest/doctest.h>

#include <string>

using pyw::launcher::parse_stat;

namespace {
std::string line(const std::string& name, const std::string& end = " 987654 4096 12\n") {
  // fields 3..21, then 22 and what follows
  return "4711 (" + name + ") S 42 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0" + end;
}
}  // namespace

TEST_CASE("stat line: a process that names itself like a stat line is still read right") {
  for (const char* name : {"cat", "", "a b", "x) S 1 1 1", ") R 7 (", "(((", ")))", "py worker) Z 99"}) {
    CAPTURE(name);
    const auto process = parse_stat(line(name));
    REQUIRE(process);
    CHECK(process->pid == 4711);
    CHECK(process->parent == 42);
    CHECK(process->state == 'S');
    CHECK(process->start == 987654);
  }
}

TEST_CASE("stat line: a line cut anywhere before the end of field 22 is refused, never half believed") {
  const std::string whole = line("a b", " 987654 ");
  REQUIRE(parse_stat(whole));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK_FALSE(parse_stat(whole.substr(0, length)));
  }
}
