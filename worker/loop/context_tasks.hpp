#pragma once

#include <pthread.h>

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "aio/loop.hpp"
#include "python/executor.hpp"

namespace pyw::loop {

/// The requests that have become tasks of the context's asyncio loop, and the driving of that loop: its descriptors and timers are on the uv loop of
/// the main thread, whose waits note what is ready, and a step tells it. The loop is made when the first awaitable comes, so a worker without
/// coroutines never imports asyncio.
/// Requests that have become tasks of loops of the user's own are kept here as well, but driven there.
/// Threads: the main thread, but for loop(), and for start_task() and cancel() of tasks of another loop, which are called on its thread. GIL: held,
/// but for due() and prepare_wait().
class ContextTasks final : public TaskHost {
 public:
  ContextTasks(uv::Loop& loop, session::Session& session) : uv_(loop), session_(session) {}

  /// Before the first request. The executor answers for tasks that ended; `flush` writes the answers of those whose loop is not the context's,
  /// for the main thread may be asleep, and is told whether this was the last task, which the main thread may be waiting for.
  void use(Executor& executor, InterruptPoint& interrupts, std::function<void(bool)> flush) {
    executor_ = &executor, interrupts_ = &interrupts, flush_ = std::move(flush);
  }

  bool start_task(const Gil& gil, std::uint64_t id, std::uint8_t flags, PyObject* awaitable, session::Waiter* loop) override;
  /// On the thread of the task's loop.
  void cancel(const Gil& gil, std::uint64_t id);
  /// Answers for a task of a loop of the user's own that was closed without running it to its end; one that can still end is left alone.
  void look_after(const Gil& gil, std::uint64_t id);

  /// True when step() has something to do now.
  bool due() const { return due_ || (driven_ && driven_->due()); }
  /// Before the main thread looks what has come: while the loop may not step (`held`), what is ready is noted once and not seen again.
  void prepare_look(bool held);
  /// Before it waits: the wait is to end at the loop's next moment, or, while it may not step (`held`), not because of the loop.
  void prepare_wait(bool held);
  /// A coroutine of the context's loop runs right now, further down the stack.
  bool stepping() const { return stepping_; }
  /// Something has happened that the loop must look at.
  void mark_due() { due_ = true; }
  /// The asyncio loop, made when there is none yet. Any thread; one that another thread made is driven from main's next adopt() on.
  Ref loop(const Gil& gil);
  bool has_loop_to_adopt() const { return loop_object_.get() && !driven_ && !finished_; }
  /// Begins to drive a loop that another thread has made. Main thread.
  void adopt(const Gil& gil);
  /// Requests that are tasks now.
  bool pending() const { return !tasks_.empty(); }
  /// There is a loop that is driven from here. One that a thread has made while a request ran is so only after adopt().
  bool any() const { return driven_ != nullptr; }
  /// One step of the asyncio loop, or several, one right after the other. Main thread, no loop running.
  void step(const Gil& gil);
  /// Cancels what is left and lets it clean up: from now on the loop has an end, and steps lead to it. Without a loop there is nothing to end.
  void begin_end(const Gil& gil);
  bool ending() const { return ending_; }
  bool has_ended(const Gil& gil) const;
  /// What is left of that is done here and now; closes the loop.
  void finish(const Gil& gil);

  /// For the interrupt handler: the request whose code runs at this moment if that is a task; `running`, which is what main runs, if main
  /// is not stepping the loop above it; 0 while the loop's own code runs, which no interrupt must hit. GIL: held.
  std::uint64_t innermost(std::uint64_t running) const;

 private:
  struct Task {
    Ref future;
    std::uint8_t flags;
    bool aside;  ///< of another loop
    bool made;   ///< by us, for a coroutine; else a future that the code had already
  };
  struct Names {
    Ref create_task, future_of, add_done_callback, result;
    bool make();
  };
  static PyObject* done(PyObject* self, PyObject* future);
  void ended(const Gil& gil, std::uint64_t id, PyObject* future);
  Ref future_of(PyObject* awaitable) const;
  static Ref future_here(PyObject* awaitable);
  bool make_loop(const Gil& gil);
  bool watch(const Gil& gil);
  [[noreturn]] void end_child(const Gil& gil);

  const pthread_t main_thread_ = ::pthread_self();
  uv::Loop& uv_;
  session::Session& session_;
  Executor* executor_ = nullptr;
  InterruptPoint* interrupts_ = nullptr;
  std::function<void(bool)> flush_;
  Ref loop_object_;
  Ref current_task_;  // asyncio.current_task
  Names names_;
  std::unordered_map<std::uint64_t, Task> tasks_;
  aio::Loop* driven_ = nullptr;  ///< the native half of loop_object_, once it is on our uv loop
  bool finished_ = false;
  bool due_ = false;
  bool stepping_ = false;
  bool ending_ = false;
  Ref end_;  // the task that is done when everything has ended
  std::uint64_t stepped_above_ = 0;  ///< what main ran when the step began
  static PyMethodDef done_definition_;
};

}  // namespace pyw::loop
