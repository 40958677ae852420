#pragma once

#include <pthread.h>

#include <csignal>
#include <cstdint>
#include <utility>
#include <vector>

#include "python/gil.hpp"
#include "session/session.hpp"

namespace pyw {

/// Whether the pending exception is a KeyboardInterrupt, or was raised by what cleaned up after one.
bool comes_of_interrupt(const Gil& gil);

/// Where a signal of our own meets the session. An interrupt names one request: the handler raises KeyboardInterrupt only if that request is
/// what the main thread runs at that very moment. SIGINT is left to Python and to the user's code, which may replace its handler
/// (asyncio.run does) without taking the means to stop it away from us.
/// Lives as long as the process: a signal can come at any time.
/// Threads: send() any; everything else the main thread.
class InterruptPoint {
 public:
  explicit InterruptPoint(session::Session& session) : session_(session) {}
  static int signal() { return SIGRTMAX - 3; }

  /// Installs our handler, and Python's own for SIGINT. False: a Python exception is pending.
  bool install(const Gil& gil);
  /// Wakes the main thread (which install() was called on) out of blocking system calls and makes the handler run.
  void send();
  /// Given the request that main runs, `innermost` says which one an interrupt would hit now: that one, or the one whose task the event loop is
  /// stepping above it; 0: none.
  void stepping(std::uint64_t (*innermost)(void*, std::uint64_t), void* arg) { innermost_ = innermost, innermost_arg_ = arg; }

  /// Whether the pending exception is the KeyboardInterrupt that we raised in request `id`, or was raised by what cleaned up after it (asyncio.run
  /// sometimes says then that its loop was stopped), and why. Asking takes the note away.
  session::Interrupt take_fired(const Gil& gil, std::uint64_t id);
  /// Whether one was raised in request `id` since the last time somebody asked, whatever became of it. Asking takes the note away.
  session::Interrupt take_note(const Gil& gil, std::uint64_t id);

  /// A KeyboardInterrupt has just got lost where no exception can be raised (`__del__`, the callback of a weak reference). True: it was one of
  /// ours, and its request is told once more.
  bool lost(const Gil& gil);

  /// As long as one of these lives, interrupts wait: for imports, which leave half of a package behind when they are broken off (asyncio is
  /// one that cannot be imported again then). On threads other than main, which no interrupt hits, it does nothing.
  class Hold {
   public:
    Hold(const Gil&, InterruptPoint& point) : point_(point), mine_(::pthread_equal(::pthread_self(), point.main_thread_) != 0) {
      if (mine_) ++point_.holds_;
    }
    ~Hold() {
      if (mine_ && --point_.holds_ == 0 && point_.held_) point_.send();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    InterruptPoint& point_;
    const bool mine_;
  };

  /// Called by the handler. False: KeyboardInterrupt is pending.
  bool on_signal(const Gil& gil);

 private:
  session::Session& session_;
  pthread_t main_thread_{};
  int holds_ = 0;
  bool held_ = false;  ///< a signal came while it was held
  std::uint64_t (*innermost_)(void*, std::uint64_t) = nullptr;
  void* innermost_arg_ = nullptr;
  /// Raised and not yet asked for, newest last: one request may be cleaning up after its interrupt when another above it gets its own.
  std::vector<std::pair<std::uint64_t, session::Interrupt>> fired_;
};

}  // namespace pyw
