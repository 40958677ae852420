#pragma once

#include <sys/types.h>

#include <cstdint>

namespace pyw::launcher {

// The launcher is the subreaper of everything the worker starts: an orphan's new parent is the launcher. Here it does what a
// parent owes its children, and at the end makes sure that there are none left.

/// Reaps every orphan that has ended and says whether the worker has. The worker itself is left as a zombie, so that its pid and
/// its process group cannot be recycled before end_descendants() and wait4() are done with them.
bool reap_orphans_unless_ended(pid_t worker);

struct Swept {
  unsigned killed = 0;    ///< were still there and were killed
  bool complete = false;  ///< none is left
};

/// Kills and reaps every descendant of this process: other sessions, daemons, whatever forks faster than we look. Call it once
/// the worker has been reaped. Gives up at `deadline_ns` (CLOCK_MONOTONIC): a process in an uninterruptible wait cannot be killed.
Swept end_descendants(std::uint64_t deadline_ns);

}  // namespace pyw::launcher
