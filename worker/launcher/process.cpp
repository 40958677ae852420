#include "launcher/process.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace pyw::launcher {
namespace {

void read_all_processes(Array<Process>& all) {
  DIR* proc = ::opendir("/proc");
  if (!proc) return;
  while (const dirent* entry = ::readdir(proc)) {
    std::string_view name = entry->d_name;
    std::uint64_t pid = 0;
    if (!take_number(name, pid) || !name.empty()) continue;
    if (const auto process = look_up(static_cast<pid_t>(pid))) all.push(*process);
  }
  ::closedir(proc);
}

}  // namespace

std::optional<Process> look_up(pid_t pid) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  char line[1024];  // field 22 ends well before, whatever the numbers are
  const ssize_t length = ::read(file.get(), line, sizeof line);
  return length > 0 ? parse_stat({line, static_cast<std::size_t>(length)}) : std::nullopt;
}

void find_descendants(pid_t root, Array<Process>& found) {
  found.clear();
  Array<Process> all;
  read_all_processes(all);
  std::sort(all.begin(), all.end(), [](const Process& a, const Process& b) { return a.parent < b.parent; });
  const auto add_children_of = [&](pid_t parent, std::uint64_t born) {
    const auto below = [](const Process& process, pid_t wanted) { return process.parent < wanted; };
    for (const Process* at = std::lower_bound(all.begin(), all.end(), parent, below); at != all.end() && at->parent == parent; ++at) {
      // A "parent" younger than its child has inherited a recycled pid while we were reading: not a relative of ours.
      if (at->start >= born) found.push(*at);
    }
  };
  add_children_of(root, 0);
  for (std::size_t at = 0; at < found.size(); ++at) {
    const Process parent = found[at];  // by value: the array may move
    add_children_of(parent.pid, parent.start);
  }
}

UniqueFd open_process(const Process& process) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!fd) return fd;
  // Looked at again only now: if it is still the one that was meant, then it was so when the descriptor was opened in between.
  const auto now = look_up(process.pid);
  if (now && now->start == process.start) return fd;
  // Hidden from us (hidepid) is not the same as gone.
  const bool gone = now || await_end(fd.get(), 0);
  fd.reset();
  errno = gone ? ESRCH : EACCES;
  return fd;
}

bool signal_descriptor(int process_fd, int signal) {
  return ::syscall(SYS_pidfd_send_signal, process_fd, signal, nullptr, 0) == 0;
}

bool signal_process(const Process& process, int signal) {
  const UniqueFd fd = open_process(process);
  if (fd) return signal_descriptor(fd.get(), signal);
  if (errno != ENOSYS) return false;
  // Before Linux 5.3 a check directly before the kill is the best there is.
  const auto now = look_up(process.pid);
  if (now && now->start == process.start) return ::kill(process.pid, signal) == 0;
  errno = ESRCH;
  return false;
}

bool await_end(int process_fd, int timeout_ms) {
  pollfd wanted{process_fd, POLLIN, 0};
  return ::poll(&wanted, 1, timeout_ms) == 1;
}

}  // namespace pyw::launcher
