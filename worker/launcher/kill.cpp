#include "launcher/kill.hpp"

#include <signal.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/clock.hpp"
#include "launcher/process.hpp"

namespace pyw::launcher {
namespace {

constexpr int kPolitelyMs = 2000;
constexpr int kForcedMs = 1000;
constexpr std::uint64_t kTreeLimit = 2'000'000'000;

bool parse(const char* text, std::uint64_t limit, std::uint64_t& number) {
  std::string_view rest = text;
  return rest.size() <= 19 && !rest.empty() && rest.front() >= '0' && rest.front() <= '9' && take_number(rest, number) &&
         rest.empty() && number <= limit;
}

int complain(pid_t pid, const char* what) {
  std::fprintf(stderr, "py_launcher: cannot end launcher %d: %s: %s\n", pid, what, std::strerror(errno));
  return 1;
}

/// The launcher does not answer. While it lives, even stopped, it stays the parent of all that the worker started: so the tree is
/// killed first, from its root, and the launcher after it.
bool kill_tree(pid_t launcher) {
  const std::uint64_t deadline = monotonic_ns() + kTreeLimit;
  Array<Process> tree;
  while (monotonic_ns() < deadline) {
    find_descendants(launcher, tree);
    UniqueFd alive;
    for (const Process& process : tree) {
      if (is_dead(process)) continue;
      UniqueFd target = open_process(process);
      if (!target && errno == ESRCH) continue;
      if (!target || (!signal_descriptor(target.get(), SIGKILL) && errno != ESRCH)) return false;
      alive = std::move(target);
    }
    if (!alive) return true;
    await_end(alive.get(), 100);
  }
  return false;
}

}  // namespace

int kill_launcher(const char* pid_text, const char* start_text) {
  std::uint64_t pid_number = 0, start = 0;
  if (!parse(pid_text, INT_MAX, pid_number) || pid_number == 0 || !parse(start_text, UINT64_MAX, start)) return 2;
  const pid_t pid = static_cast<pid_t>(pid_number);
  const UniqueFd launcher = open_process(Process{pid, 0, '?', start});
  if (!launcher) return errno == ESRCH ? 0 : complain(pid, "pidfd_open");
  if (!signal_descriptor(launcher.get(), SIGTERM)) return errno == ESRCH ? 0 : complain(pid, "SIGTERM");
  signal_descriptor(launcher.get(), SIGCONT);  // it may be stopped; if it is gone, the wait says so
  if (await_end(launcher.get(), kPolitelyMs)) return 0;
  const bool tree_gone = kill_tree(pid);
  signal_descriptor(launcher.get(), SIGKILL);
  errno = ETIMEDOUT;
  if (!await_end(launcher.get(), kForcedMs)) return complain(pid, "SIGKILL");
  return tree_gone ? 0 : complain(pid, "its descendants do not end");
}

}  // namespace pyw::launcher
