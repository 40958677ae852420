#include "loop/context_tasks.hpp"

#include <utility>

#include "aio/run_scope.hpp"
#include "base/clock.hpp"
#include "python/fork.hpp"

namespace pyw::loop {
namespace {

/// A step goes on for so long while there is something to do at once; then requests have their turn, and the descriptors are looked at.
constexpr std::uint64_t kStepNs = 50'000;

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
  Ref future = !callback ? Ref() : other ? future_here(awaitable) : future_of(awaitable);
  if (!future || !Ref::steal(PyObject_CallMethodOneArg(future.get(), names_.add_done_callback.get(), callback.get()))) return false;
  const bool made = future.get() != awaitable;
  tasks_.emplace(id, Task{std::move(future), flags, other != nullptr, made});
  session_.became_task(id, other);
  if (!other) due_ = true;
  return true;
}

/// On the context's loop. What is no coroutine asyncio itself looks at.
Ref ContextTasks::future_of(PyObject* awaitable) const {
  return Ref::steal(PyCoro_CheckExact(awaitable) ? PyObject_CallMethodOneArg(loop_object_.get(), names_.create_task.get(), awaitable)
                                                 : PyObject_CallMethodOneArg(loop_object_.get(), names_.future_of.get(), awaitable));
}

/// On the loop that runs on this thread.
Ref ContextTasks::future_here(PyObject* awaitable) {
  const Ref module = Ref::steal(PyImport_ImportModule("erlang._context_loop"));
  return Ref::steal(module ? PyObject_CallMethod(module.get(), "future_here", "O", awaitable) : nullptr);
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
  const Ref value = Ref::steal(PyObject_CallMethodNoArgs(future, names_.result.get()));
  if (!value && !PyErr_ExceptionMatches(PyExc_Exception) && (ending_ || session_.is_task_cancelled(id))) {
    PyErr_Clear();  // the CancelledError that was asked for, by the owner or by the end of the context
    executor_->answer_ended(id, port::Ended::cancelled);
  } else {
    executor_->answer(gil, id, task.flags, value);
  }
  session_.task_finished(id);
  if (task.aside) flush_(tasks_.empty());
}

void ContextTasks::cancel(const Gil&, std::uint64_t id) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return;  // it has been answered meanwhile; a second word on this cancel would be one too many for its owner
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
  stepping_ = true;
  stepped_above_ = session_.step_begins();
  bool ok;
  {
    driven_->reactor().hold(false);
    const aio::RunScope running(gil, *driven_);
    const std::uint64_t until = monotonic_ns() + kStepNs;
    do
      ok = running.ok() && driven_->step(gil);
    while (ok && driven_->has_ready() && !in_forked_child() && monotonic_ns() < until);
  }
  if (in_forked_child()) end_child(gil);
  if (!ok) {
    // KeyboardInterrupt and SystemExit of a task are that task's result already, and end nothing else. Those of a plain callback nobody else learns of.
    if (driven_->ended_by_task())
      PyErr_Clear();
    else
      report_unraisable(loop_object_.get());
  }
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

void ContextTasks::prepare_look(bool held) {
  if (driven_) driven_->reactor().hold(held);
}

void ContextTasks::prepare_wait(bool held) {
  prepare_look(held);
  if (driven_ && !held) driven_->reactor().arm_exactly(driven_->next_moment());  // an idle worker does not wake up for a timer that was cancelled
}

Ref ContextTasks::loop(const Gil& gil) { return make_loop(gil) ? Ref::share(gil, loop_object_.get()) : Ref(); }

void ContextTasks::adopt(const Gil& gil) {
  if (!watch(gil)) report_unraisable(loop_object_.get());
  due_ = true;
}

bool ContextTasks::make_loop(const Gil& gil) {
  if (loop_object_) return true;
  const InterruptPoint::Hold whole(gil, *interrupts_);
  if (!names_.make()) return false;
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
  const Ref lent = Ref::steal(PyCapsule_New(uv_.get(), "uv_loop_t", nullptr));
  if (!lent || !Ref::steal(PyObject_CallMethod(loop_object_.get(), "adopt", "O", lent.get()))) return false;
  driven_ = &aio::loop_of(loop_object_.get());
  return true;
}

bool ContextTasks::Names::make() {
  const auto intern = [](Ref& name, const char* text) { return name || (name = Ref::steal(PyUnicode_InternFromString(text))); };
  return intern(create_task, "create_task") && intern(future_of, "future_of") && intern(add_done_callback, "add_done_callback") &&
         intern(result, "result");
}

void ContextTasks::begin_end(const Gil&) {
  ending_ = true;
  if (!loop_object_) return;
  const Ref ours = Ref::steal(PyList_New(0));
  bool ok = static_cast<bool>(ours);
  for (const auto& [id, task] : tasks_) ok = ok && (task.aside || !task.made || PyList_Append(ours.get(), task.future.get()) == 0);
  end_ = Ref::steal(ok ? PyObject_CallMethod(loop_object_.get(), "begin_end", "O", ours.get()) : nullptr);
  if (!end_) report_unraisable(loop_object_.get());
  due_ = true;
}

bool ContextTasks::has_ended(const Gil&) const {
  if (!end_) return true;
  const Ref done = Ref::steal(PyObject_CallMethod(end_.get(), "done", nullptr));
  if (!done) report_unraisable(end_.get());
  return !done || done.get() == Py_True;
}

void ContextTasks::finish(const Gil& gil) {
  finished_ = true;
  end_.reset();
  if (!loop_object_) return;
  if (!driven_ && !watch(gil)) return report_unraisable(loop_object_.get());
  driven_->reactor().hold(false);
  stepping_ = true;  // what a `finally` waits for on this thread must not step the loop as well
  stepped_above_ = 0;
  if (!Ref::steal(PyObject_CallMethod(loop_object_.get(), "finish", nullptr))) report_unraisable(loop_object_.get());
  stepping_ = false;
  std::exchange(driven_, nullptr)->close(gil);  // whatever became of finish(): the uv loop ends before Python does
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
