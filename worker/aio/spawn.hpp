#pragma once

#include <sys/types.h>

#include <array>
#include <vector>

namespace pyw::aio {

/// What a child process is to be. Pointers are lent for the call of spawn() and lead to NUL-terminated strings; lists end with a null.
struct SpawnPlan {
  std::vector<const char*> programs;  ///< tried in this order
  std::vector<const char*> argv;
  std::vector<const char*> env;
  const char* cwd = nullptr;
  std::array<int, 3> std_fds{-1, -1, -1};  ///< what becomes 0, 1 and 2; -1: as here
  bool close_others = true;                ///< all from 3 on, but for those:
  std::vector<int> kept;                   ///< in ascending order
  bool restore_signals = true;             ///< SIGPIPE and SIGXFSZ, which Python ignores, are as in a program that is not Python
  bool new_session = false;
  int process_group = -1;  ///< 0: one of its own; -1: ours
  int umask = -1;          ///< -1: ours
};

struct Spawned {
  pid_t pid = -1;
  int pidfd = -1;  ///< the caller's from now on; readable when the child has ended. -1: this kernel has none
  int error = 0;   ///< an errno: there is no child, for what was asked of this step did not work
  enum class Step { start, setup, chdir, exec } step = Step::start;
};

/// Starts a child without copying this process, as vfork does: the time it takes does not depend on how much memory we have. The calling
/// thread stands still until the child has become its program; a child that could not is gone when this returns.
/// No handler of ours runs in the child; signal dispositions other than the default or "ignore" are the default there.
/// Threads: any, several at once. GIL: not needed; nothing of Python is touched.
Spawned spawn(const SpawnPlan& plan);

/// Whether this kernel can do all of it (SpawnPlan::close_others needs Linux 5.9).
bool can_spawn();

/// A descriptor that is readable when that child has ended; -1: this kernel has none (errno).
int open_pidfd(pid_t pid);

}  // namespace pyw::aio
