#include "launcher/report.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <span>

namespace pyw::launcher {
namespace {

bool write_all(int fd, std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

bool write_section(int fd, const char* name, std::span<const char> bytes) {
  static constexpr char kNewline[] = {'\n'};
  return ::dprintf(fd, "%s %zu\n", name, bytes.size()) > 0 && write_all(fd, bytes) && write_all(fd, kNewline);
}

/// What the worker had in hand, and behind it what the pipe still holds.
bool write_output(int fd, const char* name, int crash, int stream, int read_end) {
  static constexpr char kNewline[] = {'\n'};
  const auto held = read_in_hand(crash, stream);
  const auto rest = drain_pipe(read_end);
  return ::dprintf(fd, "%s %zu\n", name, held.size() + rest.size()) > 0 && write_all(fd, held) && write_all(fd, rest) &&
         write_all(fd, kNewline);
}

bool write_status(int fd, const Ending& ending) {
  if (ending.failure_length > 0) return ::dprintf(fd, "status start_failed\n") > 0;
  if (WIFSIGNALED(ending.status)) return ::dprintf(fd, "status signaled %d\n", WTERMSIG(ending.status)) > 0;
  return ::dprintf(fd, "status exited %d\n", WEXITSTATUS(ending.status)) > 0;
}

long long microseconds(const timeval& time) { return time.tv_sec * 1'000'000LL + time.tv_usec; }

}  // namespace

bool write_report(const BlackBox& box, const Ending& ending) {
  const int fd = box.report.get();
  const bool core = ending.failure_length == 0 && WIFSIGNALED(ending.status) && WCOREDUMP(ending.status);
  // Emptied first: a worker of the same user may have written something into it.
  return ::ftruncate(fd, 0) == 0 && ::dprintf(fd, "py_launcher 1\n") > 0 && write_status(fd, ending) &&
         ::dprintf(fd, "core %d\nkilled %d\nuser_us %lld\nsystem_us %lld\nmax_rss_kb %ld\ndescendants %u\n", core, ending.killed,
                   microseconds(ending.usage.ru_utime), microseconds(ending.usage.ru_stime), ending.usage.ru_maxrss,
                   ending.descendants) > 0 &&
         write_section(fd, "message", {ending.failure, ending.failure_length}) &&
         write_section(fd, "stack", read_crash(box.crash.get())) &&
         write_output(fd, "stdout", box.crash.get(), 0, box.stdout_read.get()) &&
         write_output(fd, "stderr", box.crash.get(), 1, box.stderr_read.get());
}

Held report_is_held(int report) {
  // A write lease is granted only to the one who has the file open alone. It is given back at once; an open that falls in between
  // waits for that, and the SIGIO it causes is blocked here.
  if (::fcntl(report, F_SETLEASE, F_WRLCK) == 0) {
    ::fcntl(report, F_SETLEASE, F_UNLCK);
    return Held::no;
  }
  return errno == EAGAIN ? Held::yes : Held::unknown;
}

}  // namespace pyw::launcher
