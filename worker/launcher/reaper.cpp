#include "launcher/reaper.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/clock.hpp"
#include "launcher/process.hpp"

namespace pyw::launcher {
namespace {

/// Reaps what has ended; false when no child is left at all. Counts only those that our SIGKILL ended: a child that the worker
/// had simply not waited for yet was not "still there".
bool reap_ended(unsigned& killed) {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid < 0) return false;
    if (pid == 0) return true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ++killed;
  }
}

bool contains(const Array<Process>& sorted_by_pid, const Process& wanted) {
  const auto before = [](const Process& a, const Process& b) { return a.pid < b.pid; };
  const Process* at = std::lower_bound(sorted_by_pid.begin(), sorted_by_pid.end(), wanted, before);
  return at != sorted_by_pid.end() && at->pid == wanted.pid && at->start == wanted.start;
}

/// Stops everything first: a stopped process neither forks nor reacts to the death of another one. Ends with the first look that
/// shows nobody new. A chain of processes that fork and exit at once always shows somebody new, hence the bound.
void freeze(std::uint64_t deadline_ns) {
  constexpr int kLooks = 16;
  Array<Process> looks[2];
  for (int look = 0; look < kLooks && monotonic_ns() < deadline_ns; ++look) {
    Array<Process>& now = looks[look % 2];
    Array<Process>& before = looks[1 - look % 2];
    find_descendants(::getpid(), now);
    bool anybody_new = false;
    for (const Process& process : now) {
      if (is_dead(process) || contains(before, process)) continue;
      anybody_new = true;
      signal_process(process, SIGSTOP);  // gone already: so much the better; not ours to signal: the kill will fail as well
    }
    if (!anybody_new) return;
    std::sort(now.begin(), now.end(), [](const Process& a, const Process& b) { return a.pid < b.pid; });
  }
}

/// The list of our own children, which the kernel gives in microseconds. That, not /proc as a whole (milliseconds), is what can
/// hit a link of a chain that forks and exits. No check of identity: nobody but us reaps them, so their pids stay theirs.
class Children {
 public:
  Children() {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%d/children", ::getpid());
    file_ = UniqueFd(::open(path, O_RDONLY | O_CLOEXEC));
  }
  /// False where the kernel has no such list (CONFIG_PROC_CHILDREN).
  bool kill_all() {
    if (!file_ || ::lseek(file_.get(), 0, SEEK_SET) < 0) return false;
    char text[16 * 1024];  // more than fit: the next round sees them
    const ssize_t length = ::read(file_.get(), text, sizeof text);
    std::string_view rest(text, length > 0 ? static_cast<std::size_t>(length) : 0);
    std::uint64_t pid = 0;
    // Each pid is followed by a blank; one without is cut.
    while (take_number(rest, pid) && !rest.empty()) ::kill(static_cast<pid_t>(pid), SIGKILL);
    return true;
  }

 private:
  UniqueFd file_;
};

void kill_whole_tree() {
  Array<Process> all;
  find_descendants(::getpid(), all);
  for (const Process& process : all)
    if (!is_dead(process)) signal_process(process, SIGKILL);
}

void await_death_of_a_child() {
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  const timespec a_while{0, 10'000'000};  // then look again: somebody new may have appeared without a death
  ::sigtimedwait(&child, nullptr, &a_while);
}

}  // namespace

bool reap_orphans_unless_ended(pid_t worker) {
  for (;;) {
    siginfo_t ended{};
    if (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return false;
    if (ended.si_pid == worker) return true;
    ::waitpid(ended.si_pid, nullptr, 0);
  }
}

Swept end_descendants(std::uint64_t deadline_ns) {
  Swept swept;
  if (!reap_ended(swept.killed)) return {swept.killed, true};  // the usual case: no look at /proc at all
  freeze(deadline_ns);
  Children children;
  while (monotonic_ns() < deadline_ns) {
    kill_whole_tree();
    constexpr int kQuickRounds = 64;
    for (int round = 0; round < kQuickRounds; ++round) {
      if (!reap_ended(swept.killed)) return {swept.killed, true};
      if (!children.kill_all()) break;
    }
    await_death_of_a_child();
  }
  swept.complete = !reap_ended(swept.killed);
  return swept;
}

}  // namespace pyw::launcher
