// What the threads of the worker do with the session: take requests, say that they are done, send callbacks.
#include <algorithm>
#include <iterator>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "session/session.hpp"

namespace pyw::session {

using port::Ended;
using port::Frame;
using port::Kind;

std::optional<Frame> Session::take() {
  const std::lock_guard lock(mutex_);
  while (!queue_.empty()) {
    Frame frame = dequeue(queue_.begin());
    if (refuse_expired(frame.header)) continue;
    run_on_main(frame.header);
    return frame;
  }
  return std::nullopt;
}

std::optional<Frame> Session::take_below(std::uint64_t callback) {
  if (nested_queued_.load(std::memory_order_acquire) == 0) return std::nullopt;
  const std::lock_guard lock(mutex_);
  for (;;) {
    const auto found = std::find_if(queue_.begin(), queue_.end(), [&](const Frame& frame) {
      return frame.header.parent != 0 && lineage_.descends(frame.header.parent, callback);
    });
    if (found == queue_.end()) return std::nullopt;
    Frame frame = dequeue(found);
    if (refuse_expired(frame.header)) continue;
    run_on_main(frame.header);
    return frame;
  }
}

bool Session::has_below(std::uint64_t callback) const {
  if (nested_queued_.load(std::memory_order_acquire) == 0) return false;
  const std::lock_guard lock(mutex_);
  return std::any_of(queue_.begin(), queue_.end(), [&](const Frame& frame) {
    return frame.header.parent != 0 && lineage_.descends(frame.header.parent, callback);
  });
}

bool Session::refuse_expired(const port::Header& header) {
  if (header.deadline == 0 || header.deadline > monotonic_ns()) return false;
  ended(header.id, Ended::expired);
  done_with(header.id);
  return true;
}

void Session::run_on_main(const port::Header& header) {
  ++calls_;
  stack_.push_back({header.id, header.deadline});
  running_.store(header.id, std::memory_order_release);
}

void Session::finished(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  PYW_CHECK(!stack_.empty() && stack_.back().id == id, "only the running request can finish");
  stack_.pop_back();
  running_.store(stack_.empty() ? 0 : stack_.back().id, std::memory_order_release);
  done_with(id);
  signal_innermost();
}

/// For what had to wait for the one that has just ended.
void Session::signal_innermost() {
  if (step_is_innermost() ? !blocked_.empty() : !stack_.empty() && is_aimed_at(stack_.back().id)) effects_.signal_main();
}

std::uint64_t Session::step_begins() {
  stepped_above_.store(running(), std::memory_order_seq_cst);
  return running();
}

void Session::step_ends() {
  stepped_above_.store(kNoStep, std::memory_order_seq_cst);
  if (running() == 0) return;
  const std::lock_guard lock(mutex_);
  signal_innermost();
}

void Session::done_with(std::uint64_t id) {
  lineage_.request_done(id);
  if (!aimed_.empty()) std::erase_if(aimed_, [id](const auto& one) { return one.first == id; });
}

/// Forgets that it was handed out. False: it was cancelled meanwhile, and is answered.
bool Session::take_back(std::uint64_t id) {
  const auto handed = handed_.find(id);
  if (handed == handed_.end()) return true;
  const bool cancelled = handed->second;
  handed_.erase(handed);
  if (!cancelled) return true;
  ended(id, Ended::dropped);
  done_with(id);
  return false;
}

bool Session::may_begin(const port::Header& header) { return take_back(header.id) && !refuse_expired(header); }

bool Session::begin_on_main(const Frame& frame) {
  const std::lock_guard lock(mutex_);
  if (!may_begin(frame.header)) return false;
  run_on_main(frame.header);
  return true;
}

bool Session::is_elsewhere(std::uint64_t id) const {
  const std::lock_guard lock(mutex_);
  return elsewhere_.contains(id);
}

bool Session::begin_elsewhere(const Frame& frame) {
  const std::lock_guard lock(mutex_);
  if (!may_begin(frame.header)) return false;
  ++calls_;
  elsewhere_.emplace(frame.header.id, false);
  return true;
}

void Session::finished_elsewhere(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  PYW_CHECK(elsewhere_.erase(id) == 1, "a request ended that had not begun");
  done_with(id);
}

void Session::became_task(std::uint64_t id, Waiter* loop) {
  const std::lock_guard lock(mutex_);
  bool cancelled = false;
  if (!stack_.empty() && stack_.back().id == id) {
    stack_.pop_back();
    running_.store(stack_.empty() ? 0 : stack_.back().id, std::memory_order_release);
  } else {
    const auto runs = elsewhere_.find(id);
    PYW_CHECK(runs != elsewhere_.end(), "a request became a task that had not begun");
    cancelled = runs->second;
    elsewhere_.erase(runs);
  }
  auto& task = tasks_.emplace(id, Task{loop}).first->second;
  if (lineage_.is_nested(id)) nested_tasks_.fetch_add(1, std::memory_order_release);
  // Cancelled between its start and now: the interrupt found no Python code to stop, so the task gets it, or its first step, should that begin
  // before the command is looked at.
  if (std::erase_if(aimed_, [id](const auto& one) { return one.first == id; }) != 0 || cancelled) {
    task.cancelled = true;
    if (loop)
      loop->stop(id);
    else
      stop_step(id, false);
  }
}

bool Session::is_task_cancelled(std::uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto task = tasks_.find(id);
  return task != tasks_.end() && task->second.cancelled;
}

void Session::task_finished(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  tasks_.erase(id);
  if (lineage_.is_nested(id)) nested_tasks_.fetch_sub(1, std::memory_order_release);
  done_with(id);
}

void Session::send_callback(std::uint64_t id, std::uint64_t origin, Waiter& waiter, port::FrameBuilder&& frame, bool waits) {
  const std::lock_guard lock(mutex_);
  lineage_.callback_out(id, origin);
  const Turn turn{lineage_.depth_below(id), waits};
  if (waiter.where() != Waiter::Where::context_loop) awaited_.fetch_add(1, std::memory_order_relaxed);
  callbacks_.emplace(id, Callback{origin, &waiter, turn});
  unsent_[turn].push_back({id, std::move(frame)});
  send_unsent();
  if (const auto runs = elsewhere_.find(origin); runs != elsewhere_.end() && runs->second) runs->second = !stop_threads(origin);
}

/// Nobody waits for it from now on.
Waiter* Session::take_waiter(Callback& callback) {
  Waiter* waiter = std::exchange(callback.waiter, nullptr);
  if (waiter && waiter->where() != Waiter::Where::context_loop) awaited_.fetch_sub(1, std::memory_order_relaxed);
  return waiter;
}

bool Session::may_send(Turn turn) const {
  if (unanswered_ < options_.max_callbacks) return true;
  const auto out = unanswered_of_.find(turn);
  return out == unanswered_of_.end() || out->second == 0;
}

void Session::send_unsent() {
  for (auto at = unsent_.begin(); at != unsent_.end();) {
    auto& [turn, queue] = *at;
    for (; !queue.empty() && may_send(turn); queue.pop_front()) {
      outbox_.append(queue.front().frame);
      ++unanswered_;
      ++unanswered_of_[turn];
    }
    at = queue.empty() ? unsent_.erase(at) : std::next(at);
  }
}

bool Session::abandon(std::uint64_t id) {
  std::optional<Unsent> never_sent;  // ends behind the lock: ending what it refers to may run Python code, which may come back here
  const std::lock_guard lock(mutex_);
  const auto found = callbacks_.find(id);
  if (found == callbacks_.end()) return false;
  const auto queue = unsent_.find(found->second.turn);
  auto waiting = std::deque<Unsent>::iterator();
  if (queue != unsent_.end()) waiting = std::find_if(queue->second.begin(), queue->second.end(), [id](const Unsent& one) { return one.id == id; });
  if (queue == unsent_.end() || waiting == queue->second.end()) {
    take_waiter(found->second);
    cancel_callback(id, found->second);
  } else {
    never_sent.emplace(std::move(*waiting));
    queue->second.erase(waiting);
    if (queue->second.empty()) unsent_.erase(queue);
    take_waiter(found->second);
    callbacks_.erase(found);
    lineage_.callback_back(id);
  }
  return true;
}

void Session::requeue(std::deque<Frame>&& nested) {
  const std::lock_guard lock(mutex_);
  for (auto& frame : nested)
    if (take_back(frame.header.id)) enqueue(std::move(frame));
}

void Session::forget(Waiter& waiter, std::deque<Frame>&& nested) {
  std::vector<std::uint64_t> out;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, callback] : callbacks_)
      if (callback.waiter == &waiter) out.push_back(id);
    for (auto& [id, task] : tasks_) {
      if (task.loop != &waiter) continue;
      task.loop = nullptr;
      command({Command::What::look_after_task, id});
    }
    for (auto& frame : nested)
      if (take_back(frame.header.id)) enqueue(std::move(frame));
  }
  for (const auto id : out) abandon(id);
}

}  // namespace pyw::session
