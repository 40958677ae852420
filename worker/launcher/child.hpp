#pragma once

#include <sys/types.h>

#include <cstddef>

#include "base/unique_fd.hpp"
#include "launcher/black_box.hpp"

namespace pyw::launcher {

/// The worker's process, from fork to exec.
/// Promise: it runs WORKER only after let_run(), with descriptors 0..7 as docs/protocol.md section 1 says and no others, default
/// signal handling, its own process group, and SIGKILL when the launcher ends. If WORKER cannot be run, failure() says why.
class Worker {
 public:
  /// Forks. False with errno when there is no process or descriptor to be had.
  bool start(char* const argv[], const BlackBox& box);
  /// Opens the gate. Without it, the child ends when this object does.
  void let_run();
  pid_t pid() const { return pid_; }
  /// Once the worker has ended: why WORKER did not run, or empty. Writes into `text`, NUL at its end; returns the length.
  std::size_t failure(char* text, std::size_t size) const;

 private:
  pid_t pid_ = 0;
  UniqueFd gate_;
  UniqueFd failure_;
};

}  // namespace pyw::launcher
