#pragma once

#include "python/gil.hpp"

namespace pyw {

/// What a fork() in user code must not do to the parent: the child shares its pipes and its epoll set. The atfork handler puts /dev/null
/// in the place of the frame pipes and closes the epoll fd without touching a handle (an EPOLL_CTL_DEL in the child would silence the parent).
/// When the outermost frame of the call ends in the child, the child ends: it never answers.
/// Threads: install() once, on the main thread, before Python runs.
void install_fork_guard(int loop_fd);

/// True in a forked child.
bool in_forked_child();

/// Prints the pending exception if there is one, flushes Python's and C's streams, _exit: status 0, 1 after an exception, or what
/// SystemExit says.
[[noreturn]] void end_forked_child(const Gil& gil);

}  // namespace pyw
