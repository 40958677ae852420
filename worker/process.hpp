#pragma once

#include "base/result.hpp"
#include "config.hpp"

namespace pyw {

/// The descriptors that the launcher hands us: docs/protocol.md, section 1.
struct Descriptors {
  static constexpr int kFramesIn = 3;
  static constexpr int kFramesOut = 4;
  static constexpr int kCrash = 5;
  static constexpr int kStdout = 6;
  static constexpr int kStderr = 7;
};

/// Makes this process what a worker is: frame pipes close-on-exec, non-blocking and wide, standard streams line-buffered, signals as
/// at the start of a program, the leader of its own group, and dead when its parent dies. Before any thread exists.
Result<void> become_worker();

/// Environment, working directory and resource limits of the configuration. Before Python runs. Err(bad_config | os) names the offender.
Result<void> apply_surroundings(const WorkerConfig& config);

/// For a message: the limits of the configuration. Empty if there are none.
std::string limits_text(const WorkerConfig& config);

/// The interpreter whose environment we take: the configured one, else the one this program was built for, else one of the same version on PATH.
Result<std::string> find_executable(const WorkerConfig& config);

}  // namespace pyw
