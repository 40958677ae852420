#pragma once

#include <cstddef>
#include <span>

#include "base/crash_file.hpp"
#include "base/unique_fd.hpp"

namespace pyw::launcher {

/// What outlives the worker: the report, the crash file and the output pipes.
/// Invariant after open(): every descriptor is close-on-exec and at least kFirstOwnFd, so that the child can fill 0..8 without
/// overwriting one that it still needs.
struct BlackBox {
  UniqueFd report;                    ///< the owner opens it through /proc; the worker never gets it
  UniqueFd crash;                     ///< CrashFile, sealed: can be written, cannot be resized
  UniqueFd stdout_read, stdout_write;
  UniqueFd stderr_read, stderr_write;
  UniqueFd null;

  /// Null when all is there, else what could not be made; errno says why.
  const char* open();
  /// The worker has its own copies; ours would keep the pipes from ending.
  void close_write_ends();
};

inline constexpr int kFirstOwnFd = 16;
inline constexpr std::size_t kOutputTail = 64 * 1024;

/// Moves a descriptor out of the way of 0..8 and makes it close-on-exec. Empty with errno when that fails.
UniqueFd move_up(UniqueFd low);
/// A pipe whose ends are both moved up.
bool open_pipe(UniqueFd& read_end, UniqueFd& write_end);

/// The crash file up to its last byte that is not NUL. Lives in a static buffer until the next call.
std::span<const char> read_crash(int crash);
/// What the worker had taken out of an output pipe (0: stdout, 1: stderr) when it ended, and not yet sent. Lives in a static buffer
/// until the next call. The length is the worker's word, so a record that cannot be that long counts as none; NUL bytes at the end are cut.
std::span<const char> read_in_hand(int crash, int stream);
/// What the pipe still holds, the last kOutputTail bytes of it. Bounded by the size of the pipe, so that a writer that got away
/// cannot keep us here. Lives in a static buffer until the next call.
std::span<const char> drain_pipe(int read_end);

}  // namespace pyw::launcher
