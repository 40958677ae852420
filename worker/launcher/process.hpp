#pragma once

#include <optional>

#include "base/unique_fd.hpp"
#include "launcher/array.hpp"
#include "launcher/stat_line.hpp"

namespace pyw::launcher {

// Looking at processes and signalling them without ever hitting a stranger.
//
// Promise: a signal reaches only the process that was looked at, even when its pid has been recycled since.
// Needs: /proc. Threads: the launcher has one.

/// What /proc says of `pid` now; nothing when it is gone.
std::optional<Process> look_up(pid_t pid);

/// Everything below `root` in one look at /proc, parents before their children, zombies included. One look is no snapshot:
/// what is born or handed to a new parent meanwhile may be missing, so callers look again.
void find_descendants(pid_t root, Array<Process>& found);

/// A descriptor of exactly this process, or an empty one with errno: ESRCH when it is gone, ENOSYS before Linux 5.3.
UniqueFd open_process(const Process& process);

/// Sends `signal` to exactly this process. False with errno when that did not work; ESRCH when it is gone.
bool signal_process(const Process& process, int signal);

/// Sends `signal` to whatever a descriptor of open_process() stands for.
bool signal_descriptor(int process_fd, int signal);

/// Waits until the process of `process_fd` has ended (reaped or not). False after `timeout_ms`.
bool await_end(int process_fd, int timeout_ms);

inline bool is_dead(const Process& process) { return process.state == 'Z' || process.state == 'X'; }

}  // namespace pyw::launcher
