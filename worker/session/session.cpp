#include "session/session.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace pyw::session {

using port::Ended;
using port::Frame;
using port::Kind;

Result<void> Session::receive(Frame&& frame) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t id = frame.header.id;
  if (frame.header.is_request()) {
    queued_bytes_.fetch_add(frame.size(), std::memory_order_relaxed);
    queue_.push_back(std::move(frame));
    queued_.store(queue_.size(), std::memory_order_release);
    return {};
  }
  switch (frame.header.kind) {
    case Kind::cancel: cancel(id); return {};
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

void Session::cancel(std::uint64_t id) {
  const auto queued = std::find_if(queue_.begin(), queue_.end(), [id](const Frame& f) { return f.header.id == id; });
  if (queued != queue_.end()) {
    queued_bytes_.fetch_sub(queued->size(), std::memory_order_relaxed);
    queue_.erase(queued);
    queued_.store(queue_.size(), std::memory_order_release);
    ended(id, Ended::dropped);
  } else if (running_.load(std::memory_order_relaxed) == id) {
    aim(id, Interrupt::cancel);
  } else {
    // A task, or answered while this frame was in the pipe; only the main thread knows. Should the task be what keeps the main
    // thread busy right now, then the signal finds it: the handler compares the target with the current task.
    if (tasks_.load(std::memory_order_relaxed) != 0 && running_.load(std::memory_order_relaxed) == 0) {
      blocked_.push_back(id);
      effects_.signal_main();
    }
    command({Command::What::cancel_task, id});
  }
}

void Session::interrupt_running(std::uint64_t token) {
  const std::uint64_t id = running_.load(std::memory_order_relaxed);
  if (id != 0) aim(id, Interrupt::interrupt);
  reply_atom(token, id != 0 ? "ok" : "not_running");
}

void Session::aim(std::uint64_t id, Interrupt why) {
  why_ = why;
  target_.store(id, std::memory_order_release);
  effects_.signal_main();
}

Interrupt Session::take_interrupt(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (id != 0 && std::erase(blocked_, id) != 0) return Interrupt::cancel;
  if (id == 0 || target_.load(std::memory_order_relaxed) != id) return Interrupt::none;
  target_.store(0, std::memory_order_release);
  return std::exchange(why_, Interrupt::none);
}

std::optional<Frame> Session::take() {
  const std::lock_guard lock(mutex_);
  while (!queue_.empty()) {
    Frame frame = std::move(queue_.front());
    queue_.pop_front();
    queued_.store(queue_.size(), std::memory_order_release);
    queued_bytes_.fetch_sub(frame.size(), std::memory_order_relaxed);
    if (frame.header.deadline != 0 && frame.header.deadline <= monotonic_ns()) {
      ended(frame.header.id, Ended::expired);
      continue;
    }
    ++calls_;
    running_.store(frame.header.id, std::memory_order_release);
    return frame;
  }
  return std::nullopt;
}

void Session::finished(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  PYW_CHECK(running_.load(std::memory_order_relaxed) == id, "only the running request can finish");
  running_.store(0, std::memory_order_release);
  target_.store(0, std::memory_order_release);
  why_ = Interrupt::none;
}

void Session::became_task(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  running_.store(0, std::memory_order_release);
  tasks_.fetch_add(1, std::memory_order_relaxed);
  // Cancelled between its start and now: the interrupt found no Python code to stop, so the task gets it.
  if (target_.load(std::memory_order_relaxed) == id) {
    target_.store(0, std::memory_order_release);
    command({Command::What::cancel_task, id});
  }
}

void Session::task_finished(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  tasks_.fetch_sub(1, std::memory_order_relaxed);
  if (target_.load(std::memory_order_relaxed) == id) target_.store(0, std::memory_order_release);
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
  out.map(4);
  out.atom("calls");
  out.unsigned_integer(calls_);
  out.atom("queued");
  out.unsigned_integer(queue_.size());
  out.atom("running");
  out.unsigned_integer(running_.load(std::memory_order_relaxed));
  out.atom("tasks");
  out.unsigned_integer(tasks_.load(std::memory_order_relaxed));
  outbox_.append(reply);
}

}  // namespace pyw::session
