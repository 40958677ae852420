#pragma once

#include <mutex>

#include "loop/sentinel.hpp"
#include "loop/spin.hpp"
#include "session/blocked_thread.hpp"

namespace pyw::loop {

/// How a thread of Python other than main waits for Erlang. One of them at a time looks at the pipe itself for as long as answers have
/// come soon of late: its answer then reaches it without the three wake-ups of poll, sentinel and condition variable. The others, and
/// it too when nothing came, sleep; the sentinel or main reads for them.
/// Threads: any. GIL: not held.
class ThreadWait {
 public:
  ThreadWait(session::Session& session, Sentinel& sentinel, std::uint64_t spin_ns) : session_(session), sentinel_(sentinel), spin_(spin_ns) {}

  /// Until there is something for `thread`, or until `deadline` (ns of CLOCK_MONOTONIC, 0: none).
  BlockedThread::Event wait(BlockedThread& thread, std::uint64_t deadline);

 private:
  void look(const BlockedThread& thread, std::uint64_t began);

  session::Session& session_;
  Sentinel& sentinel_;
  std::mutex leader_;
  SpinPolicy spin_;  ///< of whoever holds leader_
};

}  // namespace pyw::loop
