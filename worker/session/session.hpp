#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "port/frame_reader.hpp"
#include "port/outbox.hpp"

namespace pyw::session {

/// What the session asks of the world around it. All are called with the session's lock held, from the thread that received the frame;
/// none may block, take the GIL, or call back into the session.
class Effects {
 public:
  virtual ~Effects() = default;
  /// Make the main thread look at interrupted() soon, even out of a blocking system call.
  virtual void signal_main() = 0;
  /// Write the Python stacks of all threads into the crash file. Works without the GIL.
  virtual void dump_stacks() = 0;
  virtual void more_output_credit(std::uint64_t lines) = 0;
};

/// What only the main thread can do, in the order it was asked for.
struct Command {
  enum class What : std::uint8_t { cancel_task, release, stop };
  What what;
  std::uint64_t id;  ///< request, handle, or grace in ms
};

/// Why the running request is being interrupted.
enum class Interrupt : std::uint8_t { none, cancel, interrupt };

/// What the worker owes its callers: which requests wait, which one runs on the main thread, which are tasks of the event loop, and
/// what cancel, interrupt, ping and status mean for each. No Python and no libuv in here.
///
/// Invariant: a request's id is in exactly one of: queue, running, tasks, answered; and an answer is given exactly once, when it
/// goes to answered. An interrupt names one request; it is void as soon as that request has ended.
/// Threads: any; one lock. Answers are appended to the outbox under it, so their order is the order of decisions.
class Session {
 public:
  struct Options {
    std::uint64_t max_queued_bytes = 64u << 20;
  };
  Session(port::Outbox& outbox, Effects& effects, Options options) : outbox_(outbox), effects_(effects), options_(options) {}

  /// Called by whichever thread reads the pipe. Err: a protocol error; the worker must end.
  Result<void> receive(port::Frame&& frame);

  /// The next request to run, now running; none if the queue is empty. Requests whose deadline has passed are answered here.
  /// Main thread only. The frame stays the caller's until finished().
  std::optional<port::Frame> take();
  /// The running request has an answer (already in the outbox), or has become a task. Main thread only.
  void finished(std::uint64_t id);
  void became_task(std::uint64_t id);
  /// A task ended. Main thread only. Its answer is in the outbox.
  void task_finished(std::uint64_t id);

  /// Commands for the main thread that have gathered.
  std::vector<Command> commands();
  bool has_commands() const { return has_commands_.load(std::memory_order_acquire); }
  bool has_requests() const { return queued_.load(std::memory_order_acquire) != 0; }
  /// The queue holds as many bytes as it may: reading should pause.
  bool full() const { return queued_bytes_.load(std::memory_order_relaxed) >= options_.max_queued_bytes; }

  /// For the signal handler on the main thread: whether request `id` is what an interrupt is meant for. Taking it voids it.
  Interrupt take_interrupt(std::uint64_t id);
  /// The request for which an interrupt is waiting; 0: none. Lock-free.
  std::uint64_t interrupt_target() const { return target_.load(std::memory_order_acquire); }
  /// The request that main runs; 0: none. Lock-free.
  std::uint64_t running() const { return running_.load(std::memory_order_acquire); }

 private:
  void cancel(std::uint64_t id);
  void interrupt_running(std::uint64_t token);
  void answer_status(std::uint64_t token);
  void command(Command command);
  void aim(std::uint64_t id, Interrupt why);
  void ended(std::uint64_t id, port::Ended how);
  void reply_atom(std::uint64_t token, std::string_view atom);

  port::Outbox& outbox_;
  Effects& effects_;
  const Options options_;

  mutable std::mutex mutex_;
  std::deque<port::Frame> queue_;
  std::vector<Command> commands_;
  std::uint64_t calls_ = 0;
  Interrupt why_ = Interrupt::none;
  /// Tasks whose cancel the main thread has not heard of yet: should one of them be what keeps it busy, the signal is for that one.
  std::vector<std::uint64_t> blocked_;
  std::atomic<std::uint64_t> tasks_{0};
  std::atomic<std::uint64_t> running_{0};
  std::atomic<std::uint64_t> target_{0};
  std::atomic<std::uint64_t> queued_{0};
  std::atomic<std::uint64_t> queued_bytes_{0};
  std::atomic<bool> has_commands_{false};
};

}  // namespace pyw::session
