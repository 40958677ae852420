#pragma once

#include <pthread.h>

#include <atomic>

namespace pyw {

/// How often this process has been forked since its first ancestor that asked: differs between a parent and its child. What shares kernel state
/// with the parent (an epoll set) remembers the number of its maker. Cheaper than getpid(), which is a system call.
/// A global because pthread_atfork hands its function nothing. Threads: any. Async-signal-safe after the first call.
inline int fork_generation() {
  static std::atomic<int> generation{0};
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });
  (void)registered;
  return generation.load(std::memory_order_relaxed);
}

}  // namespace pyw
