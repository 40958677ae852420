#pragma once

#include <csignal>
#include <cstdint>

#include "python/gil.hpp"
#include "session/session.hpp"

namespace pyw {

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
  /// `innermost` says what request the code of this moment belongs to, given what the session says that main runs; 0: none.
  void ask(std::uint64_t (*innermost)(void*, std::uint64_t), void* arg) { innermost_ = innermost, innermost_arg_ = arg; }

  /// Whether the pending KeyboardInterrupt is the one that we raised in request `id`, and why. Asking takes the note away.
  session::Interrupt take_fired(const Gil& gil, std::uint64_t id);

  /// Called by the handler. False: KeyboardInterrupt is pending.
  bool on_signal(const Gil& gil);

 private:
  session::Session& session_;
  pthread_t main_thread_{};
  std::uint64_t (*innermost_)(void*, std::uint64_t) = nullptr;
  void* innermost_arg_ = nullptr;
  session::Interrupt fired_ = session::Interrupt::none;
  std::uint64_t fired_for_ = 0;
};

}  // namespace pyw
