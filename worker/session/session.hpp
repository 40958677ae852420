#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "port/frame_reader.hpp"
#include "port/outbox.hpp"
#include "session/lineage.hpp"
#include "session/waiter.hpp"

namespace pyw::session {

/// What the session asks of the world around it. All are called with the session's lock held, from the thread that received the frame;
/// none may take the GIL or call back into the session, and none but dump_stacks() may block.
class Effects {
 public:
  virtual ~Effects() = default;
  /// Make the main thread look for interrupts soon, even out of a blocking system call.
  virtual void signal_main() = 0;
  /// Write the Python stacks of all threads into the crash file. Works without the GIL. May take some ten milliseconds: the owner asks
  /// for it right before it ends us.
  virtual void dump_stacks() = 0;
  virtual void more_output_credit(std::uint64_t lines) = 0;
};

/// What only the main thread can do, in the order it was asked for.
struct Command {
  enum class What : std::uint8_t {
    cancel_task,      ///< of the context's loop
    look_after_task,  ///< of another loop, which may have been closed before the task's end
    release,
    stop,
  };
  What what;
  std::uint64_t id;  ///< request, handle, or grace in ms
};

/// Why the running request is being interrupted.
enum class Interrupt : std::uint8_t { none, cancel, interrupt };

/// What the worker owes its callers and what Erlang owes us: which requests wait, run, are tasks of an event loop; which callbacks are out
/// and who waits for them; and what cancel, interrupt, ping and status mean for each. No Python and no libuv in here.
///
/// Invariants: a request's id is in exactly one of: our queue, handed (to a waiter), running (main's stack), elsewhere (another thread runs
/// it), tasks, answered; and an answer is given exactly once, when it goes to answered. An interrupt names one request; it is void as soon
/// as that request has ended. A callback that has a waiter gets exactly one answer; no more than `max_callbacks` are unanswered at a time,
/// the others wait here for their turn. But one of each Turn may always be out, so that nested requests get on whatever those hold that
/// they descend from, and messages get through however many wait for one.
/// Threads: any; one lock. Answers are appended to the outbox under it, so their order is the order of decisions.
class Session {
 public:
  /// A request that descends from a request that ... this often is refused.
  static constexpr unsigned kMaxNesting = 100;

  struct Options {
    std::uint64_t max_callbacks = 10000;
  };
  Session(port::Outbox& outbox, Effects& effects, Options options) : outbox_(outbox), effects_(effects), options_(options) {}

  /// Called by whichever thread reads the pipe. Err: a protocol error; the worker must end.
  Result<void> receive(port::Frame&& frame);

  // Requests on the main thread. A frame that was taken stays the taker's until finished().
  /// The next request to run, now running; none if the queue is empty. Requests whose deadline has passed are answered here.
  std::optional<port::Frame> take();
  /// The same among those that descend from `callback`, on which main waits.
  std::optional<port::Frame> take_below(std::uint64_t callback);
  bool has_below(std::uint64_t callback) const;
  /// One that a mailbox gave to the main thread, above the request whose loop runs there. False: its deadline has passed, and it is answered.
  bool begin_on_main(const port::Frame& frame);
  /// Some task of an event loop descends from a callback. Lock-free.
  bool has_nested_tasks() const { return nested_tasks_.load(std::memory_order_acquire) != 0; }
  /// The running request has an answer (already in the outbox).
  void finished(std::uint64_t id);

  // Nested requests that a waiter was handed. False: its deadline has passed or it was cancelled, and it is answered.
  bool begin_elsewhere(const port::Frame& frame);
  bool is_elsewhere(std::uint64_t id) const;
  void finished_elsewhere(std::uint64_t id);

  // Requests that are tasks of an event loop.
  /// The request that runs on this thread has become a task of the context's loop (`loop` null) or of the loop that this mailbox serves.
  void became_task(std::uint64_t id, Waiter* loop);
  /// A cancel has come for it, whether or not its loop has heard of it yet.
  bool is_task_cancelled(std::uint64_t id) const;
  /// Its answer is in the outbox.
  void task_finished(std::uint64_t id);
  /// Main steps the context's loop, above the request that is returned (0: none): what is running() stands still until step_ends().
  std::uint64_t step_begins();
  void step_ends();

  // Callbacks.
  std::uint64_t next_callback() { return last_callback_.fetch_add(1, std::memory_order_relaxed) + 1; }
  /// Sends it now or when its turn comes. `origin` is the request that makes it, or 0. `waits`: it is answered when something happens, and
  /// not when something is done.
  void send_callback(std::uint64_t id, std::uint64_t origin, Waiter& waiter, port::FrameBuilder&& frame, bool waits = false);
  /// Nobody waits for it any more; Erlang is told. The waiter will not hear of it again. False: it had been answered.
  bool abandon(std::uint64_t id);
  /// Nested requests that nobody will run where they should.
  void requeue(std::deque<port::Frame>&& nested);
  /// The waiter goes: its callbacks are abandoned, its tasks are the context's, and its nested requests go to the queue.
  void forget(Waiter& waiter, std::deque<port::Frame>&& nested);

  /// Commands for the main thread that have gathered.
  std::vector<Command> commands();
  bool has_commands() const { return has_commands_.load(std::memory_order_acquire); }
  bool has_requests() const { return queued_.load(std::memory_order_acquire) != 0; }
  /// For who sees that main has not come back for a while: an interrupt that stands is signalled once more, for a signal that comes right
  /// before a system call is not noticed by it.
  void signal_again();
  /// For the signal handler on the main thread: whether request `id` is what an interrupt is meant for. Taking it voids it.
  Interrupt take_interrupt(std::uint64_t id);
  /// What request `id` was told with an exception got lost where none can be raised, in `__del__` say: it is told again. Main thread.
  void interrupt_again(std::uint64_t id, Interrupt why);
  /// The request that main runs, the innermost if there are several; 0: none. Lock-free.
  std::uint64_t running() const { return running_.load(std::memory_order_acquire); }
  /// Threads other than main that wait for an answer right now. Lock-free.
  bool threads_wait() const { return threads_waiting_.load(std::memory_order_seq_cst) != 0; }
  bool one_thread_waits() const { return threads_waiting_.load(std::memory_order_relaxed) == 1; }
  void thread_waits(bool now) { now ? threads_waiting_.fetch_add(1, std::memory_order_seq_cst) : threads_waiting_.fetch_sub(1, std::memory_order_seq_cst); }

 private:
  struct Running {
    std::uint64_t id;
    std::uint64_t deadline;
  };
  /// Callbacks that may need one another's credit do not share a turn: how deep the request lies that made it, and whether it waits.
  using Turn = std::pair<unsigned, bool>;
  struct Callback {
    std::uint64_t origin;
    Waiter* waiter;  ///< null: nobody waits
    Turn turn;
    bool cancelled = false;
  };
  struct Task {
    Waiter* loop;  ///< null: the context's
    bool cancelled = false;
    std::uint64_t behind = 0;  ///< the call that it stood behind when its cancel came, or was last asked about
  };
  struct Unsent {
    std::uint64_t id;
    port::FrameBuilder frame;
  };

  void receive_request(port::Frame&& frame);
  void enqueue(port::Frame&& frame);
  port::Frame dequeue(std::deque<port::Frame>::iterator at);
  bool refuse_expired(const port::Header& header);
  bool may_begin(const port::Header& header);
  bool take_back(std::uint64_t id);
  void run_on_main(const port::Header& header);
  void receive_answer(port::Frame&& frame);
  void send_unsent();
  bool may_send(Turn turn) const;
  Waiter* take_waiter(Callback& callback);
  void cancel_callback(std::uint64_t id, Callback& callback);
  void cancel(std::uint64_t id);
  bool cancel_queued(std::uint64_t id);
  void cancel_task(std::uint64_t id, Task& task);
  void stop_step(std::uint64_t id, bool may_be_current);
  void ask(std::uint64_t id);
  std::uint64_t call_on_main() const;
  void cancel_outer(std::uint64_t id);
  void cancel_waits_on_main(std::uint64_t origin);
  bool holds(std::uint64_t callback, std::uint64_t request) const;
  bool stop_threads(std::uint64_t request);
  bool step_is_innermost() const { return stepped_above_.load(std::memory_order_relaxed) == running(); }
  void signal_innermost();
  void interrupt_running(std::uint64_t token);
  void answer_status(std::uint64_t token);
  void command(Command command);
  void aim(std::uint64_t id, Interrupt why);
  bool is_aimed_at(std::uint64_t id) const;
  void done_with(std::uint64_t id);
  void ended(std::uint64_t id, port::Ended how);
  void refuse_nesting(std::uint64_t id);
  void reply_atom(std::uint64_t token, std::string_view atom);

  port::Outbox& outbox_;
  Effects& effects_;
  const Options options_;

  mutable std::mutex mutex_;
  std::deque<port::Frame> queue_;
  std::vector<Running> stack_;  ///< what main runs, innermost last
  std::unordered_map<std::uint64_t, bool> handed_;     ///< true: cancelled, it must not begin
  std::unordered_map<std::uint64_t, bool> elsewhere_;  ///< true: cancelled while it waited for nothing; its next wait ends at once
  std::unordered_map<std::uint64_t, Task> tasks_;
  std::vector<Command> commands_;
  std::uint64_t calls_ = 0;
  /// Interrupts that have not been taken yet. Those for outer requests of the stack wait until they are the innermost.
  std::vector<std::pair<std::uint64_t, Interrupt>> aimed_;
  /// Tasks whose cancel the main thread has not heard of yet: should one of them be what keeps it busy, the signal is for that one.
  std::vector<std::uint64_t> blocked_;

  Lineage lineage_;
  std::unordered_map<std::uint64_t, Callback> callbacks_;
  std::map<Turn, std::deque<Unsent>, std::greater<>> unsent_;  ///< the deepest first, for the others wait for them; no queue is empty
  std::uint64_t unanswered_ = 0;                               ///< callbacks that have been sent
  std::map<Turn, std::uint64_t> unanswered_of_;
  std::atomic<std::uint64_t> last_callback_{0};

  static constexpr std::uint64_t kNoStep = ~std::uint64_t{0};
  std::atomic<std::uint64_t> stepped_above_{kNoStep};  ///< the request above which main steps the context's loop right now
  std::atomic<std::uint64_t> running_{0};
  std::atomic<std::uint64_t> queued_{0};
  std::atomic<std::uint64_t> nested_queued_{0};
  std::atomic<std::uint64_t> nested_tasks_{0};
  std::atomic<std::uint64_t> threads_waiting_{0};
  std::atomic<std::uint64_t> awaited_{0};  ///< callbacks with a waiter that is not the context's loop
  std::atomic<bool> has_commands_{false};
};

}  // namespace pyw::session
