#include "loop/context_tasks.hpp"

#include <cmath>

#include "python/fork.hpp"

namespace pyw::loop {
namespace {

/// What the done-callback carries: which request of which host.
struct DoneKey {
  ContextTasks* host;
  std::uint64_t id;
};

void free_key(PyObject* capsule) { delete static_cast<DoneKey*>(PyCapsule_GetPointer(capsule, nullptr)); }

/// A failure of the loop itself, of which no request is the cause: goes where Python prints what nobody catches.
void report_unraisable(PyObject* about) {
  if (PyErr_Occurred()) PyErr_WriteUnraisable(about);
}

}  // namespace

PyMethodDef ContextTasks::done_definition_ = {"task_done", ContextTasks::done, METH_O, nullptr};

bool ContextTasks::start_task(const Gil& gil, std::uint64_t id, std::uint8_t flags, PyObject* awaitable, session::Waiter* other) {
  if (!make_loop(gil)) return false;
  if (!other && stepping_) {
    // A coroutine of this loop stands in a blocking erlang.call, and this request descends from that: it could never be stepped.
    PyErr_SetString(PyExc_RuntimeError,
                    "the context's event loop is blocked by erlang.call() in a coroutine, so a coroutine that is called meanwhile cannot run: "
                    "use `await erlang.async_call()` there");
    return false;
  }
  auto key = std::make_unique<DoneKey>(DoneKey{this, id});
  const Ref capsule = Ref::steal(PyCapsule_New(key.get(), nullptr, free_key));
  if (!capsule) return false;
  key.release();
  const Ref callback = Ref::steal(PyCFunction_New(&done_definition_, capsule.get()));
  const Ref module = Ref::steal(callback ? PyImport_ImportModule("erlang._context_loop") : nullptr);
  Ref future = Ref::steal(!module ? nullptr
                          : other ? PyObject_CallMethod(module.get(), "start_here", "OO", awaitable, callback.get())
                                  : PyObject_CallMethod(loop_object_.get(), "start", "OO", awaitable, callback.get()));
  if (!future) return false;
  tasks_.emplace(id, Task{std::move(future), flags, false, other != nullptr});
  session_.became_task(id, other);
  if (!other) due_ = true;
  return true;
}

PyObject* ContextTasks::done(PyObject* self, PyObject* future) {
  const GilHeld gil;
  const auto* key = static_cast<DoneKey*>(PyCapsule_GetPointer(self, nullptr));
  if (!key) return nullptr;
  if (in_forked_child()) key->host->end_child(gil);
  key->host->ended(gil, key->id, future);
  Py_RETURN_NONE;
}

void ContextTasks::ended(const Gil& gil, std::uint64_t id, PyObject* future) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return;
  const Task task = std::move(found->second);
  tasks_.erase(found);
  const Ref value = Ref::steal(PyObject_CallMethod(future, "result", nullptr));
  if (!value && task.cancelled && !PyErr_ExceptionMatches(PyExc_Exception)) {
    PyErr_Clear();  // the CancelledError that we asked for
    executor_->answer_ended(id, port::Ended::cancelled);
  } else {
    executor_->answer(gil, id, task.flags, value);
  }
  session_.task_finished(id);
  if (task.aside) flush_();
}

void ContextTasks::cancel(const Gil&, std::uint64_t id) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return executor_->answer_ended(id, port::Ended::unknown);
  found->second.cancelled = true;
  if (::pthread_equal(::pthread_self(), main_thread_)) due_ = true;
  if (!Ref::steal(PyObject_CallMethod(found->second.future.get(), "cancel", nullptr))) report_unraisable(found->second.future.get());
}

void ContextTasks::look_after(const Gil& gil, std::uint64_t id) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return;
  const Ref loop = Ref::steal(PyObject_CallMethod(found->second.future.get(), "get_loop", nullptr));
  const Ref closed = Ref::steal(loop ? PyObject_CallMethod(loop.get(), "is_closed", nullptr) : nullptr);
  if (!closed) return report_unraisable(found->second.future.get());
  if (closed.get() != Py_True) return;
  const Task task = std::move(found->second);
  tasks_.erase(id);
  PyErr_SetString(PyExc_RuntimeError, "the event loop that ran this coroutine was closed before the coroutine had ended");
  executor_->answer(gil, id, task.flags, Ref());
  session_.task_finished(id);
}

void ContextTasks::step(const Gil& gil) {
  due_ = false;
  if (!uv_is_active(reinterpret_cast<uv_handle_t*>(poll_.get()))) look_again();
  stepping_ = true;
  stepped_above_ = session_.step_begins();
  const bool ok = static_cast<bool>(Ref::steal(PyObject_CallMethod(loop_object_.get(), "step", nullptr)));
  if (in_forked_child()) end_child(gil);
  if (!ok) {
    // KeyboardInterrupt and SystemExit of a task are that task's result already, and end nothing else.
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
      PyErr_Clear();
    else
      report_unraisable(loop_object_.get());
  }
  const Ref delay = Ref::steal(PyObject_CallMethod(loop_object_.get(), "delay", nullptr));
  if (delay)
    arm(PyFloat_AsDouble(delay.get()));
  else
    report_unraisable(loop_object_.get());
  // Only now may an interrupt hit what waits below: above, it would end up as a failure of the loop, and nobody would be interrupted.
  stepping_ = false;
  session_.step_ends();
}

/// A coroutine forked, and this is the child at the end of the step: the parent's selector is not ours to go on with. If the coroutine has
/// ended, its exception is the child's.
void ContextTasks::end_child(const Gil& gil) {
  if (PyErr_Occurred()) end_forked_child(gil);  // SystemExit came out of the step itself
  for (const auto& [id, task] : tasks_) {
    const Ref done = Ref::steal(PyObject_CallMethod(task.future.get(), "done", nullptr));
    if (done && done.get() == Py_True && !Ref::steal(PyObject_CallMethod(task.future.get(), "result", nullptr))) break;
  }
  end_forked_child(gil);
}

void ContextTasks::arm(double delay) {
  if (delay == 0.0) {
    due_ = true;
  } else if (delay > 0.0) {
    uv_update_time(uv_.get());
    uv_timer_start(timer_.get(), [](uv_timer_t* timer) {
      uv_stop(timer->loop);  // uv_run may have called us before its wait, which is then not to begin
      if (timer->data) static_cast<ContextTasks*>(timer->data)->due_ = true;
    }, static_cast<std::uint64_t>(std::ceil(delay * 1000)), 0);
  } else {
    uv_timer_stop(timer_.get());
  }
}

Ref ContextTasks::loop(const Gil& gil) { return make_loop(gil) ? Ref::share(gil, loop_object_.get()) : Ref(); }

void ContextTasks::adopt(const Gil& gil) {
  if (!watch(gil)) report_unraisable(loop_object_.get());
  due_ = true;
}

bool ContextTasks::make_loop(const Gil& gil) {
  if (loop_object_) return true;
  const InterruptPoint::Hold whole(gil, *interrupts_);
  const Ref module = Ref::steal(PyImport_ImportModule("erlang._context_loop"));
  const Ref asyncio = Ref::steal(module ? PyImport_ImportModule("asyncio") : nullptr);
  if (!asyncio) return false;
  current_task_ = Ref::steal(PyObject_GetAttrString(asyncio.get(), "current_task"));
  Ref made = Ref::steal(current_task_ ? PyObject_CallMethod(module.get(), "new_context_loop", nullptr) : nullptr);
  if (!made) return false;
  if (loop_object_) return true;  // another thread made it while we imported
  loop_object_ = std::move(made);
  if (!::pthread_equal(::pthread_self(), main_thread_) || watch(gil)) return true;
  loop_object_.reset();
  return false;
}

bool ContextTasks::watch(const Gil&) {
  const Ref number = Ref::steal(PyObject_CallMethod(loop_object_.get(), "adopt", nullptr));
  if (!number) return false;
  const int fd = static_cast<int>(PyLong_AsLong(number.get()));
  auto poll = uv::open<uv_poll_t>("uv_poll", this, [&](uv_poll_t* h) { return uv_poll_init(uv_.get(), h, fd); });
  auto timer = uv::open<uv_timer_t>("uv_timer", this, [&](uv_timer_t* h) { return uv_timer_init(uv_.get(), h); });
  if (!poll || !timer) {
    PyErr_SetString(PyExc_OSError, (poll ? timer.error() : poll.error()).message.c_str());
    return false;
  }
  poll_ = poll.take();
  timer_ = timer.take();
  look_again();
  return true;
}

/// Once per step: while main waits in a blocking call and may not step, a descriptor that stays readable must not keep it awake.
void ContextTasks::look_again() {
  uv_poll_start(poll_.get(), UV_READABLE, [](uv_poll_t* handle, int, int) {
    uv_poll_stop(handle);
    if (handle->data) static_cast<ContextTasks*>(handle->data)->due_ = true;
  });
}

void ContextTasks::begin_end(const Gil&) {
  ending_ = true;
  for (auto& [id, task] : tasks_) task.cancelled = true;  // by us: its caller is told so, not of a CancelledError
  if (!loop_object_) return;
  end_ = Ref::steal(PyObject_CallMethod(loop_object_.get(), "begin_end", nullptr));
  if (!end_) report_unraisable(loop_object_.get());
  due_ = true;
}

bool ContextTasks::has_ended(const Gil&) const {
  if (!end_) return true;
  const Ref done = Ref::steal(PyObject_CallMethod(end_.get(), "done", nullptr));
  if (!done) report_unraisable(end_.get());
  return !done || done.get() == Py_True;
}

void ContextTasks::finish(const Gil&) {
  end_.reset();
  if (!loop_object_) return;
  poll_.reset();
  timer_.reset();
  stepping_ = true;  // what a `finally` waits for on this thread must not step the loop as well
  stepped_above_ = 0;
  if (!Ref::steal(PyObject_CallMethod(loop_object_.get(), "finish", nullptr))) report_unraisable(loop_object_.get());
  stepping_ = false;
  loop_object_.reset();
}

std::uint64_t ContextTasks::innermost(std::uint64_t running) const {
  if (!stepping_ || running != stepped_above_) return running;
  const Ref task_now = Ref::steal(PyObject_CallFunctionObjArgs(current_task_.get(), loop_object_.get(), nullptr));
  if (!task_now) return PyErr_Clear(), 0;  // no loop runs: nothing of ours is being stepped
  for (const auto& [id, task] : tasks_)
    if (task.future.get() == task_now.get()) return id;
  return 0;
}

}  // namespace pyw::loop
