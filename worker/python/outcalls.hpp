#pragma once

#include <pthread.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_set>

#include "session/blocked_thread.hpp"
#include "python/codec.hpp"
#include "python/current_call.hpp"
#include "python/executor.hpp"
#include "python/mailbox.hpp"
#include "session/session.hpp"

namespace pyw {

/// How the main thread stands still: the main loop serves what it can meanwhile.
class MainWait {
 public:
  virtual ~MainWait() = default;
  enum class End : std::uint8_t { answered, timeout, raised };
  /// Waits for the answer of `callback` until `deadline` (ns of CLOCK_MONOTONIC, 0: none) and runs the requests that descend from it.
  /// raised: a Python exception is pending, an interrupt most likely. Main thread only, GIL held.
  virtual End wait(const Gil& gil, std::uint64_t callback, const BlockedThread& thread, std::uint64_t deadline) = 0;
};

class Outcalls;

/// What every object of Mailbox knows, also one that outlives the rest.
struct MailboxHome {
  session::Session& session;
  Outcalls* calls;  ///< null: the context is over
  std::unordered_set<Mailbox*> open{};
  std::uint64_t opened_on_main = 0;
};

/// Calls from Python to Erlang: what stands behind call_op, start_op, cancel_op, current, new_mailbox, context_mailbox and context_loop of
/// `_erlang`, and the mailbox of the context's loop. Types and promises for Python are in `_erlang.pyi`.
/// Threads: any. GIL: held, but not while a thread waits.
class Outcalls {
 public:
  struct Parts {
    session::Session& session;
    port::Outbox& outbox;
    Codec& codec;
    Executor& executor;
    CurrentCall& current;
    MainWait& main;
    InterruptPoint& interrupts;
    std::function<void(const Gil&, std::uint64_t)> cancel_task;  ///< cancels the task of this request; on the thread of its loop
    std::function<Ref(const Gil&)> context_loop;  ///< the context's asyncio loop, made when there is none yet; any thread
    /// A thread other than main waits, until a time (ns of CLOCK_MONOTONIC, 0: none), without the GIL.
    std::function<BlockedThread::Event(BlockedThread&, std::uint64_t)> wait_aside;
    std::function<void()> nudge;   ///< the outbox could not be written out: somebody must go on when the pipe has room
    std::uint64_t max_frame;
  };
  /// Err: python.
  static Result<std::unique_ptr<Outcalls>> make(const Gil&, Parts);
  /// GIL: held. Mailboxes that Python still has know that we are gone.
  ~Outcalls();

  /// Mail for coroutines of the context's loop. Lock-free.
  bool has_mail() const { return mailbox_->has_mail(); }
  /// Hands it out. Main thread.
  void deliver(const Gil& gil) { drain(gil, *mailbox_); }

  /// For the functions of the module and of the type Mailbox. What returns an empty Ref has left a Python exception.
  Ref call(const Gil& gil, PyObject* op, PyObject* args, PyObject* timeout);
  std::uint64_t start(const Gil& gil, Mailbox& mailbox, PyObject* done, PyObject* op, PyObject* args, PyObject* timeout);
  bool cancel(const Gil& gil, std::uint64_t id);
  /// The same for one whose number its maker has not learned: by what was to be called with the answer.
  bool cancel(const Gil& gil, PyObject* done);
  void drain(const Gil& gil, Mailbox& mailbox);
  /// How many mailboxes the main thread has opened, for wind_up().
  std::uint64_t opened_on_main(const Gil&) const { return home_->opened_on_main; }
  /// A request on main has been answered: what loops that it has left behind stand for is given up. `before`: opened_on_main() before it ran.
  void wind_up(const Gil& gil, std::uint64_t before);
  /// The session has something for main and for Erlang that this thread gave it.
  void left_to_main();
  Ref make_mailbox(const Gil& gil, session::Waiter::Where where);
  Ref context_mailbox(const Gil& gil) { return Ref::share(gil, context_object_.get()); }
  Ref context_loop(const Gil& gil) const { return parts_.context_loop(gil); }
  Ref current(const Gil& gil) const { return parts_.current.object(gil); }
  /// Of the code that asks: a context variable.
  CurrentCall& call_at_hand() const { return parts_.current; }

 private:
  struct Outgoing;
  explicit Outcalls(Parts parts) : parts_(std::move(parts)) {}
  bool build(const Gil& gil, Outgoing& out, PyObject* op, PyObject* args, PyObject* timeout);
  bool write_args(const Gil& gil, Outgoing& out, std::string_view op, PyObject* args);
  Ref wait_here(const Gil& gil, const Outgoing& out, BlockedThread& thread);
  Ref wait_on_main(const Gil& gil, const Outgoing& out, BlockedThread& thread);
  void raise_stop(const Gil& gil, std::uint64_t origin);
  Ref decode(const Gil& gil, const port::Frame& frame);
  void add_items(const Gil&, const port::Frame&);
  Ref items_of(const Gil&, Bytes payload);
  void run_nested(const Gil& gil, const port::Frame& frame, Executor::Place place);
  void hand_out(const Gil& gil, Mailbox& mailbox, Mailbox::Mail& mail);
  void flush();
  bool on_main() const;

  const Parts parts_;
  const pthread_t main_thread_ = ::pthread_self();
  Ref mailbox_type_;
  Ref context_object_;
  Mailbox* mailbox_ = nullptr;  ///< context_object_ owns it
  std::shared_ptr<MailboxHome> home_;
};

}  // namespace pyw
