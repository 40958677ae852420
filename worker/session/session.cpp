// What comes from the pipe, and what it means: requests into the queue, control frames, cancel and interrupt. The other half is in work.cpp.
#include "session/session.hpp"

#include <algorithm>

#include "base/clock.hpp"

namespace pyw::session {

using port::Ended;
using port::Frame;
using port::Kind;

Result<void> Session::receive(Frame&& frame) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t id = frame.header.id;
  if (frame.header.is_request()) {
    receive_request(std::move(frame));
    return {};
  }
  switch (frame.header.kind) {
    case Kind::callback_ok:
    case Kind::callback_error: receive_answer(std::move(frame)); return {};
    case Kind::cancel: frame.header.flags & port::kFlagAsk ? ask(id) : cancel(id); return {};
    case Kind::interrupt: interrupt_running(id); return {};
    case Kind::ping: outbox_.append(Kind::pong, 0, id); return {};
    case Kind::status: answer_status(id); return {};
    case Kind::release: command({Command::What::release, id}); return {};
    case Kind::credit: effects_.more_output_credit(id); return {};
    case Kind::stop: command({Command::What::stop, id}); return {};
    case Kind::dump:
      effects_.dump_stacks();
      reply_atom(id, "ok");
      return {};
    default: return Error{Errc::bad_frame, "a second configuration"};
  }
}

void Session::receive_request(Frame&& frame) {
  const std::uint64_t id = frame.header.id;
  const std::uint64_t parent = frame.header.parent;
  const auto callback = parent == 0 ? callbacks_.end() : callbacks_.find(parent);
  // One whose parent has been answered descends from nothing that still waits: it is a request like any other.
  if (callback != callbacks_.end()) {
    if (lineage_.depth_below(parent) > kMaxNesting) return refuse_nesting(id);
    lineage_.request_in(id, parent);
    Waiter* waiter = callback->second.waiter;
    if (waiter && waiter->is_aside()) {
      handed_.emplace(id, false);
      return waiter->nested(std::move(frame));
    }
  }
  enqueue(std::move(frame));
}

void Session::enqueue(Frame&& frame) {
  if (lineage_.is_nested(frame.header.id)) nested_queued_.fetch_add(1, std::memory_order_release);
  queue_.push_back(std::move(frame));
  queued_.store(queue_.size(), std::memory_order_release);
}

Frame Session::dequeue(std::deque<Frame>::iterator at) {
  Frame frame = std::move(*at);
  queue_.erase(at);
  queued_.store(queue_.size(), std::memory_order_release);
  if (lineage_.is_nested(frame.header.id)) nested_queued_.fetch_sub(1, std::memory_order_release);
  return frame;
}

void Session::receive_answer(Frame&& frame) {
  const std::uint64_t id = frame.header.id;
  const auto found = callbacks_.find(id);
  if (found == callbacks_.end()) return;  // a job that was killed as it answered: the second word on it
  Waiter* waiter = take_waiter(found->second);
  --unanswered_;
  --unanswered_of_[found->second.turn];
  callbacks_.erase(found);
  lineage_.callback_back(id);
  send_unsent();
  if (waiter) waiter->answered(id, std::move(frame));
}

void Session::cancel(std::uint64_t id) {
  if (cancel_queued(id)) return;
  if (const auto task = tasks_.find(id); task != tasks_.end()) return cancel_task(id, task->second);
  if (!stack_.empty() && stack_.back().id == id && !step_is_innermost()) return aim(id, Interrupt::cancel);
  if (std::any_of(stack_.begin(), stack_.end(), [id](const Running& r) { return r.id == id; })) return cancel_outer(id);
  if (const auto runs = elsewhere_.find(id); runs != elsewhere_.end()) {
    runs->second = !stop_threads(id);
    return;
  }
  ended(id, Ended::unknown);  // answered while this frame was in the pipe, or not come yet
}

bool Session::cancel_queued(std::uint64_t id) {
  const auto queued = std::find_if(queue_.begin(), queue_.end(), [id](const Frame& f) { return f.header.id == id; });
  if (queued != queue_.end()) {
    dequeue(queued);
  } else if (const auto handed = handed_.find(id); handed == handed_.end()) {
    return false;
  } else if (std::any_of(callbacks_.begin(), callbacks_.end(), [id](const auto& entry) {
               return entry.second.waiter && entry.second.waiter->drop(id);
             })) {
    handed_.erase(handed);
  } else {
    handed->second = true;  // its thread has taken it and will ask whether it may begin
    return true;
  }
  ended(id, Ended::dropped);
  done_with(id);
  return true;
}

void Session::cancel_task(std::uint64_t id, Task& task) {
  task.cancelled = true;
  stop_threads(id);
  if (task.loop) {
    task.loop->stop(id);
    return command({Command::What::look_after_task, id});
  }
  task.behind = call_on_main();
  stop_step(id, task.behind == 0);
  if (task.behind == 0) return;
  // The main thread is in somebody else's call; the task stands still, and cannot even be told before that call is over.
  ended(id, Ended::deferred);
  cancel_waits_on_main(id);
}

/// What a cancelled task of the context's loop has come to: whether the same call of somebody else keeps main that did so when this was last
/// asked, so that it could not clean up meanwhile. Between two calls it could.
void Session::ask(std::uint64_t id) {
  const auto task = tasks_.find(id);
  if (task == tasks_.end() || task->second.loop) return;
  const std::uint64_t before = std::exchange(task->second.behind, call_on_main());
  if (before != 0 && task->second.behind == before) ended(id, Ended::deferred);
}

/// The call because of which the tasks of the context's loop stand still: the outermost on main. 0: they do not.
std::uint64_t Session::call_on_main() const { return stack_.empty() || step_is_innermost() ? 0 : stack_.front().id; }

/// A request that waits on main for something nested in it: the callbacks that it waits for go, and what stands above it on main, whether or
/// not those who asked for it have gone with their jobs. Then it is the innermost and gets its interrupt.
void Session::cancel_outer(std::uint64_t id) {
  if (!is_aimed_at(id)) aimed_.emplace_back(id, Interrupt::cancel);
  cancel_waits_on_main(id);
  for (auto above = stack_.rbegin(); above->id != id; ++above)
    if (!is_aimed_at(above->id)) aimed_.emplace_back(above->id, Interrupt::interrupt);
  effects_.signal_main();
}

/// What a request on main waits for, itself or in a loop that it runs.
void Session::cancel_waits_on_main(std::uint64_t origin) {
  if (awaited_.load(std::memory_order_relaxed) == 0) return;
  for (auto& [number, callback] : callbacks_)
    if (callback.origin == origin && callback.waiter && callback.waiter->where() != Waiter::Where::context_loop) cancel_callback(number, callback);
}

/// Whether the end of `callback` is what lets `request` go on, through whatever stands between them on one and the same thread.
bool Session::holds(std::uint64_t callback, std::uint64_t request) const {
  for (;;) {
    const auto found = callbacks_.find(callback);
    if (found == callbacks_.end() || !found->second.waiter || !found->second.waiter->is_aside()) return false;
    if (found->second.origin == request) return true;
    callback = lineage_.parent(found->second.origin);
  }
}

/// A request is being stopped that stands still on another thread, or waits for one that does. Threads are told; of a loop that runs there for
/// a nested request, that request's callbacks go. False: the request itself waits for nothing.
bool Session::stop_threads(std::uint64_t request) {
  if (awaited_.load(std::memory_order_relaxed) == 0) return false;  // thousands of coroutines may be cancelled at once
  bool its_own = false;
  for (auto& [number, callback] : callbacks_) {
    if (!holds(number, request)) continue;
    if (callback.waiter->where() == Waiter::Where::thread) {
      callback.waiter->stop(callback.origin);
      if (const auto task = tasks_.find(callback.origin); task != tasks_.end()) task->second.cancelled = true;
    } else if (elsewhere_.contains(callback.origin)) {
      cancel_callback(number, callback);
    } else {
      continue;
    }
    its_own = its_own || callback.origin == request;
  }
  return its_own;
}

void Session::cancel_callback(std::uint64_t id, Callback& callback) {
  if (!std::exchange(callback.cancelled, true)) outbox_.append(Kind::callback_cancel, 0, id);
}

void Session::interrupt_running(std::uint64_t token) {
  const std::uint64_t id = running();
  if (id != 0) aim(id, Interrupt::interrupt);
  reply_atom(token, id != 0 ? "ok" : "not_running");
}

void Session::aim(std::uint64_t id, Interrupt why) {
  if (!is_aimed_at(id)) aimed_.emplace_back(id, why);
  effects_.signal_main();
}

bool Session::is_aimed_at(std::uint64_t id) const {
  return std::any_of(aimed_.begin(), aimed_.end(), [id](const auto& one) { return one.first == id; });
}

void Session::signal_again() {
  const std::lock_guard lock(mutex_);
  signal_innermost();
}

Interrupt Session::take_interrupt(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (id == 0) return Interrupt::none;
  if (std::erase(blocked_, id) != 0) {
    // task.cancel() would stop it a second time, in the middle of its `finally`.
    std::erase_if(commands_, [id](const Command& queued) { return queued.what == Command::What::cancel_task && queued.id == id; });
    return Interrupt::cancel;
  }
  const auto found = std::find_if(aimed_.begin(), aimed_.end(), [id](const auto& one) { return one.first == id; });
  if (found == aimed_.end()) return Interrupt::none;
  const Interrupt why = found->second;
  aimed_.erase(found);
  return why;
}

void Session::interrupt_again(std::uint64_t id, Interrupt why) {
  const std::lock_guard lock(mutex_);
  if (const auto task = tasks_.find(id); task != tasks_.end() && !task->second.loop) return stop_step(id, true);
  if (!stack_.empty() && stack_.back().id == id) aim(id, why);
}

/// task.cancel(), or, should the task be what keeps the main thread busy right now, the signal that finds it: the handler compares it with the current
/// task. Whichever comes first.
void Session::stop_step(std::uint64_t id, bool may_be_current) {
  command({Command::What::cancel_task, id});
  blocked_.push_back(id);
  if (may_be_current) effects_.signal_main();
}

std::vector<Command> Session::commands() {
  const std::lock_guard lock(mutex_);
  has_commands_.store(false, std::memory_order_release);
  blocked_.clear();  // from here on it is task.cancel() that stops them, and no late signal must hit their `finally`
  return std::exchange(commands_, {});
}

void Session::command(Command command) {
  commands_.push_back(command);
  has_commands_.store(true, std::memory_order_release);
}

void Session::ended(std::uint64_t id, Ended how) {
  const auto byte = static_cast<std::byte>(how);
  outbox_.append(Kind::ended, 0, id, Bytes(&byte, 1));
}

void Session::refuse_nesting(std::uint64_t id) {
  port::FrameBuilder reply(64);
  reply.begin(Kind::error, 0, id);
  reply.writer().version();
  reply.writer().tuple(2);
  reply.writer().atom("nesting_too_deep");
  reply.writer().unsigned_integer(kMaxNesting);
  outbox_.append(reply);
}

void Session::reply_atom(std::uint64_t token, std::string_view atom) {
  port::FrameBuilder reply(64);
  reply.begin(Kind::control_reply, 0, token);
  reply.writer().version();
  reply.writer().atom(atom);
  outbox_.append(reply);
}

void Session::answer_status(std::uint64_t token) {
  port::FrameBuilder reply(1024);
  reply.begin(Kind::control_reply, 0, token);
  auto& out = reply.writer();
  out.version();
  out.map(5);
  const auto entry = [&out](std::string_view name, std::uint64_t value) {
    out.atom(name);
    out.unsigned_integer(value);
  };
  entry("calls", calls_);
  entry("queued", queue_.size());
  entry("running", running());
  entry("tasks", tasks_.size());
  entry("callbacks", callbacks_.size());
  outbox_.append(reply);
}

}  // namespace pyw::session
