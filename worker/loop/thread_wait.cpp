#include "loop/thread_wait.hpp"

#include <sched.h>

#include "base/clock.hpp"

namespace pyw::loop {
namespace {
constexpr std::uint64_t kPoliteAfterNs = 4'000;  ///< of looking; from then on whoever else wants the core gets it
}

BlockedThread::Event ThreadWait::wait(BlockedThread& thread, std::uint64_t deadline) {
  const std::unique_lock leader(leader_, std::try_to_lock);
  const std::uint64_t began = monotonic_ns();
  const bool alone = session_.one_thread_waits();
  if (leader && alone && spin_.worth_it()) look(thread, began);
  if (!thread.has_something()) sentinel_.attend();
  const auto event = thread.wait(deadline);
  if (leader && alone && session_.one_thread_waits())
    spin_.frame_after(monotonic_ns() - began);
  else if (leader)
    spin_.not_near();  // several want the cores, the GIL and the pipe: one that looks all the time would be in their way
  return event;
}

void ThreadWait::look(const BlockedThread& thread, std::uint64_t began) {
  for (std::uint64_t now = began; now < began + spin_.limit_ns(); now = monotonic_ns()) {
    if (!session_.one_thread_waits()) return;
    sentinel_.read_for_a_thread();
    if (thread.has_something()) return;
    if (now > began + kPoliteAfterNs) ::sched_yield();
  }
}

}  // namespace pyw::loop
