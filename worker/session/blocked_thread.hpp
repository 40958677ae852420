#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>

#include "session/waiter.hpp"

namespace pyw {

/// A thread that stands still until its callback is answered. What comes for it meanwhile is kept here until it looks.
/// Threads: the waiting thread makes, asks and ends it; whoever reads the pipe fills it.
class BlockedThread final : public session::Waiter {
 public:
  explicit BlockedThread(Where where) : Waiter(where) {}

  void answered(std::uint64_t, port::Frame&& frame) override {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(frame);
    done_.store(true, std::memory_order_release);
    has_something_.store(true, std::memory_order_release);
    something_.notify_one();
  }
  void nested(port::Frame&& frame) override {
    const std::lock_guard lock(mutex_);
    nested_.push_back(std::move(frame));
    has_something_.store(true, std::memory_order_release);
    something_.notify_one();
  }
  bool drop(std::uint64_t request) override {
    const std::lock_guard lock(mutex_);
    const bool dropped = std::erase_if(nested_, [request](const port::Frame& frame) { return frame.header.id == request; }) != 0;
    has_something_.store(answer_ || !nested_.empty() || stopped_, std::memory_order_release);
    return dropped;
  }
  void stop(std::uint64_t) override {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    has_something_.store(true, std::memory_order_release);
    something_.notify_one();
  }

  /// The answer is here. Lock-free.
  bool done() const { return done_.load(std::memory_order_acquire); }

  /// wait() would not wait. Lock-free.
  bool has_something() const { return has_something_.load(std::memory_order_acquire); }

  enum class Event : std::uint8_t { answer, nested, stopped, timeout };
  /// Waits until `deadline` (ns of CLOCK_MONOTONIC, 0: none) for something to do. GIL: not held.
  Event wait(std::uint64_t deadline);
  /// After done() or Event::answer. Behind the lock, so that whoever saw done() outlives the call that made it true: this may end at once.
  port::Frame take_answer() {
    const std::lock_guard lock(mutex_);
    return std::move(*answer_);
  }
  std::optional<port::Frame> take_nested();
  /// What nobody will run here any more.
  std::deque<port::Frame> take_all_nested();

 private:
  std::mutex mutex_;
  std::condition_variable something_;
  std::optional<port::Frame> answer_;
  std::deque<port::Frame> nested_;
  bool stopped_ = false;
  std::atomic<bool> done_{false};
  std::atomic<bool> has_something_{false};
};

}  // namespace pyw
