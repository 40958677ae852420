#include "aio/spawn.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>

// Newer than the kernel headers of the oldest systems that we build on. The numbers are the same on every architecture.
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

namespace pyw::aio {
namespace {

constexpr std::size_t kStack = 64u << 10;  ///< of the child, until it is its program. No signal handler runs on it

int close_range(unsigned first, unsigned last) { return static_cast<int>(::syscall(SYS_close_range, first, last, 0)); }

/// Shared with the child, which runs in our memory: it writes here why it could not become its program.
struct Birth {
  const SpawnPlan& plan;
  const sigset_t& mask;  ///< of the calling thread, before
  Spawned result;
};

// What follows runs in the child, in the memory of the parent: async-signal-safe calls only, nothing is allocated, and nothing of what is
// changed here (descriptors, folder, umask, dispositions) is the parent's, only memory is.

bool keep_across_exec(int fd) {
  const int flags = ::fcntl(fd, F_GETFD);
  return flags >= 0 && ::fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) == 0;
}

bool place(int fd, int number) {
  if (fd == -1) return true;  // nothing is said; any other number that is none is an error, as with subprocess
  return fd == number ? keep_across_exec(fd) : ::dup2(fd, number) >= 0;
}

bool place_std_fds(std::array<int, 3> fds) {
  // What is to become 1 or 2 may lie where something else is put before that.
  for (int number = 1; number < 3; ++number)
    while (fds[static_cast<std::size_t>(number)] >= 0 && fds[static_cast<std::size_t>(number)] < number)
      if ((fds[static_cast<std::size_t>(number)] = ::fcntl(fds[static_cast<std::size_t>(number)], F_DUPFD_CLOEXEC, 3)) < 0) return false;
  return place(fds[0], 0) && place(fds[1], 1) && place(fds[2], 2);
}

bool close_others(const SpawnPlan& plan) {
  unsigned from = 3;
  for (const int fd : plan.kept) {
    if (!keep_across_exec(fd)) return false;
    const auto kept = static_cast<unsigned>(fd);
    if (kept < from) continue;
    if (kept > from && close_range(from, kept - 1) != 0) return false;
    from = kept + 1;
  }
  return close_range(from, ~0u) == 0;
}

/// exec does that as well, but a signal that comes between our unblocking them and exec would run the parent's handler in its memory.
void drop_handlers(bool restore) {
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction now;
    if (::sigaction(number, nullptr, &now) != 0) continue;
    const bool ignored = !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_IGN;
    const bool is_default = !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL;
    if (is_default || (ignored && !(restore && (number == SIGPIPE || number == SIGXFSZ)))) continue;
    ::sigaction(number, &usual, nullptr);
  }
}

bool set_up(const SpawnPlan& plan, Spawned& result) {
  if (!place_std_fds(plan.std_fds)) return false;
  if (plan.cwd && ::chdir(plan.cwd) != 0) {
    result.step = Spawned::Step::chdir;
    return false;
  }
  if (plan.umask >= 0) ::umask(static_cast<mode_t>(plan.umask));
  if (plan.new_session) ::setsid();  // fails only for who leads a group, and a new process does not
  if (plan.process_group >= 0 && ::setpgid(0, plan.process_group) != 0) return false;
  return !plan.close_others || close_others(plan);
}

int be_born(void* argument) {
  auto& birth = *static_cast<Birth*>(argument);
  const SpawnPlan& plan = birth.plan;
  birth.result.step = Spawned::Step::setup;
  drop_handlers(plan.restore_signals);
  ::pthread_sigmask(SIG_SETMASK, &birth.mask, nullptr);
  if (set_up(plan, birth.result)) {
    birth.result.step = Spawned::Step::exec;
    // As execvp: what is forbidden somewhere on the path is told, unless a later folder has it.
    int told = 0;
    for (const char* program : plan.programs) {
      ::execve(program, const_cast<char* const*>(plan.argv.data()), const_cast<char* const*>(plan.env.data()));
      if (errno != ENOENT && errno != ENOTDIR && told == 0) told = errno;
    }
    if (told != 0) errno = told;
    if (plan.programs.empty()) errno = ENOENT;
  }
  birth.result.error = errno != 0 ? errno : EINVAL;
  ::_exit(127);
}

}  // namespace

Spawned spawn(const SpawnPlan& plan) {
  const auto stack = std::make_unique_for_overwrite<std::byte[]>(kStack);
  sigset_t all, mask;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &mask);
  Birth birth{plan, mask, {}};
  int pidfd = -1;  // kernels before 5.2 leave it so
  const auto top = (reinterpret_cast<std::uintptr_t>(stack.get()) + kStack) & ~std::uintptr_t{63};
  const pid_t pid = ::clone(be_born, reinterpret_cast<void*>(top), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &birth, &pidfd);
  if (pid < 0) birth.result.error = errno;
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  if (birth.result.error != 0) {
    // Nobody else knows this child: a handler that reaps every child may have been faster, which is as good.
    while (pid > 0 && ::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (pidfd >= 0) ::close(pidfd);
    return birth.result;
  }
  birth.result.pid = pid;
  birth.result.pidfd = pidfd >= 0 ? pidfd : open_pidfd(pid);
  return birth.result;
}

bool can_spawn() { return close_range(~0u, ~0u) == 0; }  // closes nothing: there is no such descriptor

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

}  // namespace pyw::aio
