#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace pyw::launcher {

/// What we want to know of a process. Pid and start time together name it for good; a pid alone may be recycled.
struct Process {
  pid_t pid;
  pid_t parent;
  char state;           ///< R S D T t Z X, as in proc(5)
  std::uint64_t start;  ///< clock ticks since boot
};

/// Reads one number and the blank before it off the front of `text`; false when there is none.
inline bool take_number(std::string_view& text, std::uint64_t& number) {
  std::size_t at = 0;
  while (at < text.size() && text[at] == ' ') ++at;
  const bool negative = at < text.size() && text[at] == '-';  // tpgid and nice may be: skipped by all callers, never wanted
  if (negative) ++at;
  const std::size_t first = at;
  for (number = 0; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
    number = number * 10 + static_cast<std::uint64_t>(text[at] - '0');
  const bool found = at > first;
  text.remove_prefix(at);
  return found;
}

/// Understands a line of /proc/PID/stat. The name in field 2 is the process's own choice and may hold blanks and brackets, so
/// the fields are counted from the *last* closing bracket. Pure. Nothing when the line is cut or is no such line.
inline std::optional<Process> parse_stat(std::string_view line) {
  std::string_view head = line;
  std::uint64_t pid = 0, parent = 0, skipped = 0, start = 0;
  const std::size_t bracket = line.rfind(')');
  if (!take_number(head, pid) || bracket == std::string_view::npos || bracket + 3 >= line.size()) return std::nullopt;
  const char state = line[bracket + 2];
  std::string_view rest = line.substr(bracket + 3);
  if (!take_number(rest, parent)) return std::nullopt;
  for (int field = 5; field < 22; ++field)
    if (!take_number(rest, skipped)) return std::nullopt;
  // The blank after field 22 proves that the number is whole.
  if (!take_number(rest, start) || rest.empty()) return std::nullopt;
  return Process{static_cast<pid_t>(pid), static_cast<pid_t>(parent), state, start};
}

}  // namespace pyw::launcher
