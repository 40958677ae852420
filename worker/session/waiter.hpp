#pragma once

#include <cstdint>

#include "port/frame_reader.hpp"

namespace pyw::session {

/// Whoever waits for the answer of a callback: a thread that stands still, or the mailbox of an event loop, which stands for all
/// callbacks that its coroutines await.
///
/// Its functions are called by whichever thread reads the pipe, with the session's lock held: they note what came and wake whoever
/// waits; they never block, take the GIL or call back into the session. After Session::abandon() they are not called any more.
class Waiter {
 public:
  enum class Where : std::uint8_t {
    main,          ///< the main thread stands still in a blocking call
    thread,        ///< another thread does
    context_loop,  ///< coroutines of the context's loop await it; the main thread is not held up
    other_loop,    ///< coroutines of a loop of the user's own
  };
  explicit Waiter(Where where) : where_(where) {}
  virtual ~Waiter() = default;
  Where where() const { return where_; }
  /// Not served by the main loop itself: what descends from its callbacks runs where it waits.
  bool is_aside() const { return where_ == Where::thread || where_ == Where::other_loop; }

  /// The answer of callback `id`: callback_ok or callback_error.
  virtual void answered(std::uint64_t id, port::Frame&& frame) = 0;
  /// A request that descends from the callback and must run where its maker waits. Not for main and context_loop: their requests wait in
  /// the session's queue.
  virtual void nested(port::Frame&& frame) = 0;
  /// Forgets a nested request that has not begun. False: it is not here.
  virtual bool drop(std::uint64_t request) = 0;
  /// A request is being stopped that runs where this waits: the one that made the callback (thread), or a task (other_loop).
  virtual void stop(std::uint64_t request) = 0;

 private:
  const Where where_;
};

}  // namespace pyw::session
