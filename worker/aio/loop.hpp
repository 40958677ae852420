#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "aio/handle.hpp"
#include "aio/reactor.hpp"
#include "aio/ring.hpp"
#include "aio/timer_heap.hpp"

namespace pyw::aio {

class Resolver;
class SockWaits;

/// Something of ours that is to be done in the loop's next turn, in line with the callbacks. `owner` is kept alive until then. False: an
/// exception is pending that ends the loop's run.
using Chore = bool (*)(const Gil& gil, PyObject* owner);

/// One asyncio loop: the queue of what is ready, the timers, and the turns in which they run. The Python type `_erlang_loop.Loop` is around
/// it; what of asyncio's interface is not hot is in Python (erlang/_event_loop.py).
///
/// A turn, in asyncio's order: what is in the queue at its beginning is run, what the reactor found ready is told to its watchers, and the timers that
/// are due are run. So a task that was made before data arrived runs before the protocol gets it.
/// The reactor is not asked in each turn while there is work: a look at it costs as much as several callbacks.
/// Threads: one at a time, that which runs the loop; call_threadsafe() and wake() any. GIL: held, released while waiting.
class Loop {
 public:
  Loop(const Gil& gil, State& state, LoopObject* object);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// With a uv loop of its own, or on that of the worker's main thread, which then calls step() and arm(). False: OSError is pending.
  bool open(const Gil& gil, uv_loop_t* lent);
  /// It will be opened on a uv loop that its owner runs; what is queued until then waits.
  void will_be_lent() { lent_ = true; }
  bool is_open() const { return reactor_ != nullptr; }
  /// Callbacks may be queued.
  bool takes_callbacks() const { return !closed_ && (reactor_ || lent_); }
  /// Drops what is queued, closes the reactor.
  void close(const Gil& gil);
  bool closed() const { return closed_; }
  /// Something is dispatched or run at this moment, further up on the stack.
  bool in_turn() const { return in_turns_ > 0; }
  /// Does what was put off until the end of the turn. False: an exception is pending that ends the run.
  bool run_last(const Gil& gil);

  State& state() { return state_; }
  /// The Python object, borrowed.
  PyObject* object() const { return reinterpret_cast<PyObject*>(object_); }
  Reactor& reactor() { return *reactor_; }

  /// Takes the reference.
  void push(HandleObject* handle) {
    take_incoming();  // what other threads queued before this has its turn before this
    ready_.push({nullptr, reinterpret_cast<PyObject*>(handle)});
  }
  /// Shares `owner`. False: the loop is closed, RuntimeError is pending.
  bool soon(const Gil&, Chore chore, PyObject* owner);
  /// The same, after the callbacks of the turn at hand, also when one of them ends the run; for what has been put off until then. Outside of a turn
  /// nothing should be: nobody knows when the next one comes.
  bool at_end_of_turn(const Gil&, Chore chore, PyObject* owner);
  /// Any thread. Takes the reference.
  void push_threadsafe(HandleObject* handle);
  /// Any thread: the resolver has answers.
  void nudge();
  /// Takes the reference.
  void add_timer(HandleObject* timer);
  void remove_timer(HandleObject* timer);

  /// The number of the turn at hand.
  std::uint64_t turns() const { return turns_; }

  static double now() { return static_cast<double>(monotonic_ns_now()) / 1e9; }
  static std::uint64_t monotonic_ns_now();

  /// Turns until stop() or an exception that ends the run. False: it is pending.
  bool run(const Gil& gil);
  /// One turn; waits for something to do if there is nothing and `may_wait`.
  bool turn(const Gil& gil, bool may_wait);
  void stop() { stopping_ = true; }
  void set_stopping(bool on) { stopping_ = on; }
  bool stopping() const { return stopping_; }

  /// For the worker's main thread, on a loop whose uv loop it runs: a turn without looking at the reactor.
  bool step(const Gil& gil);
  /// Whether there is something to run at once.
  bool has_ready() const { return !ready_.empty() || !last_.empty(); }
  /// Whether step() has something to do now.
  bool due() const;
  /// When step() will next have something to do if nothing happens; Reactor::kNever.
  std::uint64_t next_moment() const { return timers_.empty() ? Reactor::kNever : timers_.next_due(); }

  bool debug() const { return debug_; }
  /// For what only the thread that runs the loop may do, before it is done. False: this is another one, and debug mode tells: RuntimeError is pending.
  bool check_thread(const Gil& gil) const;
  void set_debug(bool on) { debug_ = on; }
  double slow_callback_duration() const { return slow_; }
  void set_slow_callback_duration(double seconds) { slow_ = seconds; }
  /// The thread that runs the loop; 0 when none does.
  unsigned long thread() const { return thread_; }
  void set_thread(unsigned long ident) { thread_ = ident; }

  /// None: asyncio.Task. Borrowed.
  PyObject* task_factory() const { return task_factory_.get(); }
  void set_task_factory(Ref factory) { task_factory_ = std::move(factory); }

  /// A transport owns this descriptor until it lets go of it; Python code may not watch it meanwhile, and what it had there is gone. Not owned here.
  void claim(int fd, PyObject* transport);
  void unclaim(int fd, PyObject* transport) {
    if (const auto found = transports_.find(fd); found != transports_.end() && found->second == transport) transports_.erase(found);
  }
  /// Keeps a transport alive that waits for something, until let_go() or the end of the loop.
  void hold(const Gil& gil, PyObject* transport);
  void let_go(PyObject* transport);
  /// False: RuntimeError is pending, which names the transport.
  bool check_no_transport(const Gil& gil, int fd) const;

  /// loop.call_exception_handler({"message": message, "exception": exception, **more}); `more` is a dict or null. Takes nothing; what goes
  /// wrong in it is printed. The pending exception is not touched, unless the handler raises one that ends the run: false, and that one is pending.
  bool report(const Gil& gil, const char* message, PyObject* exception, PyObject* more);

  /// Descriptors by number that Python code watches (add_reader, add_writer, sock_*).
  std::unordered_map<int, std::unique_ptr<class FdWatch>>& fds() { return fds_; }

  /// Calls of sock_recv and its like that wait; null as long as none has waited.
  SockWaits* sock_waits() { return sock_waits_.get(); }
  /// The same, made if need be. Null: an exception is pending.
  SockWaits* make_sock_waits(const Gil& gil);

  /// Look-ups of names; null as long as there was none.
  Resolver* resolver() { return resolver_.get(); }
  /// The same, made if need be. Null: an exception is pending.
  Resolver* make_resolver(const Gil& gil);

  /// Whether the exception that ended the last step was raised by a task, whose result it is as well.
  bool ended_by_task() const { return ended_by_task_; }
  void set_ended_by_task(bool is) { ended_by_task_ = is; }

  std::size_t ready_count() const { return ready_.size(); }
  std::size_t timer_count() const { return timers_.size(); }
  int traverse(visitproc visit, void* arg) const;

  /// For reads: what is received is put here first and then into an object of its size. Made when first needed.
  static constexpr std::size_t kScratch = 256u << 10;
  char* scratch();
  /// For datagrams.
  ReceiveRoom& receive_room() {
#ifdef Py_GIL_DISABLED
    return receive_room_;
#else
    return state_.receive_room;
#endif
  }

 private:
  struct Entry {
    Chore chore;  ///< null: object is a HandleObject
    PyObject* object;
  };
  void look(const Gil& gil, bool may_wait);
  bool finds_at_once();
  void wait(const Gil& gil);
  void take_incoming() {
    if (has_incoming_.load(std::memory_order_acquire)) [[unlikely]] fetch_incoming();
  }
  void fetch_incoming();
  void take_due();
  /// The part of a turn before that. False: an exception is pending that ends the run.
  bool run_callbacks(const Gil& gil);
  bool do_step(const Gil& gil);
  bool do_turn(const Gil& gil, bool may_wait);
  /// The first so many in the queue. False: an exception is pending that ends the run.
  bool run_ready(const Gil& gil, std::size_t count);
  bool run_chore(const Gil& gil, const Entry& entry);
  bool check_not_closed() const;

  State& state_;
  LoopObject* object_;
  std::unique_ptr<Reactor> reactor_;
  Ring<Entry> ready_;
  std::vector<Entry> last_;  ///< chores for the end of the turn
  TimerHeap<HandleObject*> timers_;
  std::unordered_map<int, std::unique_ptr<class FdWatch>> fds_;
  std::unique_ptr<SockWaits> sock_waits_;
  std::unique_ptr<Resolver> resolver_;
  std::unordered_map<int, PyObject*> transports_;
  std::unordered_set<PyObject*> held_;  ///< owned
  std::unique_ptr<char[]> scratch_;
#ifdef Py_GIL_DISABLED
  ReceiveRoom receive_room_;
#endif
  Ref task_factory_;

  std::mutex incoming_mutex_;
  std::vector<HandleObject*> incoming_;
  std::atomic<bool> has_incoming_{false};
  std::atomic<bool> asleep_{false};

  std::uint64_t turns_ = 0;
  int in_turns_ = 0;  ///< how deep
  std::uint64_t looked_ = 0;  ///< when the reactor was last asked, by a look
  unsigned waits_ = 0;        ///< while looks are not sure to find something
  unsigned found_ = 0;        ///< looks in a row that found something
  bool has_waited_ = false;   ///< the turn before waited, which is later than looked_; the clock is read when it is needed
  unsigned long thread_ = 0;
  double slow_ = 0.1;
  bool lent_ = false;
  bool stopping_ = false;
  bool closed_ = false;
  bool debug_ = false;
  bool ended_by_task_ = false;
};

/// The Python object around a Loop. Classes in Python derive from its type.
struct LoopObject {
  PyObject_HEAD
  Loop loop;
};

/// The Loop of an object whose type derives from `_erlang_loop.Loop`.
inline Loop& loop_of(PyObject* object) { return reinterpret_cast<LoopObject*>(object)->loop; }

bool make_loop_type(const Gil& gil, State& state, PyObject* module);

}  // namespace pyw::aio
