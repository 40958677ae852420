#include "session/blocked_thread.hpp"

#include <chrono>

namespace pyw {

BlockedThread::Event BlockedThread::wait(std::uint64_t deadline) {
  std::unique_lock lock(mutex_);
  const auto something = [this] { return answer_.has_value() || !nested_.empty() || stopped_; };
  // steady_clock is CLOCK_MONOTONIC here, the clock of the deadlines.
  const std::chrono::steady_clock::time_point until{std::chrono::nanoseconds(deadline)};
  if (deadline == 0)
    something_.wait(lock, something);
  else if (!something_.wait_until(lock, until, something))
    return Event::timeout;
  return stopped_ ? Event::stopped : answer_ ? Event::answer : Event::nested;
}

std::optional<port::Frame> BlockedThread::take_nested() {
  const std::lock_guard lock(mutex_);
  if (nested_.empty()) return std::nullopt;
  port::Frame frame = std::move(nested_.front());
  nested_.pop_front();
  has_something_.store(answer_ || !nested_.empty() || stopped_, std::memory_order_release);
  return frame;
}

std::deque<port::Frame> BlockedThread::take_all_nested() {
  const std::lock_guard lock(mutex_);
  return std::exchange(nested_, {});
}

}  // namespace pyw
