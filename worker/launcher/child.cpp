#include "launcher/child.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/signals.hpp"
#include "launcher/stat_line.hpp"

namespace pyw::launcher {
namespace {

constexpr int kFailureFd = 8;     // the first one after the table of docs/protocol.md, closed by the exec
constexpr int kExitNotRun = 127;  // as a shell does

[[noreturn]] void give_up(int failure, const char* what, const char* name) {
  char text[4096 + 256];
  const int length = std::snprintf(text, sizeof text, "%s %s: %s", what, name, std::strerror(errno));
  // One write of less than a page cannot be cut. If it fails, the launcher is gone and nobody will read it.
  if (length > 0 && ::write(failure, text, std::strlen(text)) < 0) ::_exit(kExitNotRun);
  ::_exit(kExitNotRun);
}

/// Linux before 5.9 has no close_range.
void close_from(int first) {
  if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0u, 0u) == 0) return;
  DIR* open_fds = ::opendir("/proc/self/fd");
  if (!open_fds) return;
  while (const dirent* entry = ::readdir(open_fds)) {
    std::string_view name = entry->d_name;
    std::uint64_t fd = 0;
    if (!take_number(name, fd)) continue;
    if (static_cast<int>(fd) >= first && static_cast<int>(fd) != ::dirfd(open_fds)) ::close(static_cast<int>(fd));
  }
  ::closedir(open_fds);
}

/// All sources lie above kFirstOwnFd, so the order does not matter.
bool arrange_descriptors(const BlackBox& box, int failure) {
  const bool arranged = ::dup2(box.null.get(), 0) == 0 && ::dup2(box.stdout_write.get(), 1) == 1 &&
                        ::dup2(box.stderr_write.get(), 2) == 2 && ::fcntl(3, F_SETFD, 0) == 0 && ::fcntl(4, F_SETFD, 0) == 0 &&
                        ::dup2(box.crash.get(), 5) == 5 && ::dup2(box.stdout_read.get(), 6) == 6 &&
                        ::dup2(box.stderr_read.get(), 7) == 7 && ::dup3(failure, kFailureFd, O_CLOEXEC) == kFailureFd;
  if (arranged) close_from(kFailureFd + 1);
  return arranged;
}


[[noreturn]] void become_worker(char* const argv[], const BlackBox& box, int gate, int failure, pid_t launcher) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up(failure, "cannot tie to the launcher:", argv[0]);
  if (::getppid() != launcher) ::_exit(kExitNotRun);  // it ended before the line above: nobody would tell us
  if (::setpgid(0, 0) != 0) give_up(failure, "cannot make a process group for", argv[0]);
  char go;
  if (::read(gate, &go, 1) != 1) ::_exit(kExitNotRun);
  if (!arrange_descriptors(box, failure)) give_up(failure, "cannot arrange the descriptors of", argv[0]);
  reset_every_signal();  // handlers are undone by the exec, but what was ignored would stay so
  ::execv(argv[0], argv);
  give_up(kFailureFd, "cannot run", argv[0]);
}

}  // namespace

bool Worker::start(char* const argv[], const BlackBox& box) {
  UniqueFd gate_read, failure_write;
  if (!open_pipe(gate_read, gate_) || !open_pipe(failure_, failure_write)) return false;
  // Read only after the child's end; a fork of the child that dies before the exec cannot exist, so there is a writer or the text.
  ::fcntl(failure_.get(), F_SETFL, O_NONBLOCK);
  const pid_t launcher = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    gate_.reset();  // else the read of the gate would never see that the launcher is gone
    become_worker(argv, box, gate_read.get(), failure_write.get(), launcher);
  }
  pid_ = child;
  return true;
}

void Worker::let_run() {
  const char go = 1;
  // Fails only when the child is dead already, which the caller is about to hear.
  if (::write(gate_.get(), &go, 1) != 1) return;
  gate_.reset();
}

std::size_t Worker::failure(char* text, std::size_t size) const {
  const ssize_t length = ::read(failure_.get(), text, size - 1);
  const std::size_t used = length > 0 ? static_cast<std::size_t>(length) : 0;
  text[used] = '\0';
  return used;
}

}  // namespace pyw::launcher
