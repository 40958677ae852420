#include "loop/main_loop.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/clock.hpp"
#include "python/fork.hpp"

namespace pyw::loop {
namespace {
constexpr std::uint64_t kFlushAfterNs = 50'000;  ///< an answer waits no longer than this for company
constexpr std::size_t kFlushBytes = 256u << 10;
constexpr std::uint64_t kPoliteAfterNs = 4'000;  ///< of spinning; from then on whoever else wants the core gets it
constexpr std::uint64_t kLookEveryNs = 10'000;
constexpr std::uint64_t kLookAtLeastEveryNs = 100'000;
constexpr std::uint64_t kTurnNs = 1'000'000;  ///< of requests, while tasks wait for their turn
constexpr std::size_t kLargeFrame = 1u << 20;
constexpr std::uint64_t kTrimAfterMs = 1000;
constexpr int kExitProtocol = 3;
constexpr int kRequestsPerTurn = 256;  ///< then tasks, signals and commands have their turn

void ignore(uv_poll_t*, int, int) {}  // being woken is all: we read after each uv_run

template <class T>
T must(Result<T> made) {
  PYW_CHECK(made, made ? "" : made.error().message.c_str());
  return made.take();
}

}  // namespace

void MainLoop::open_handles() {
  uv_loop_t* loop = parts_.uv.get();
  const auto watch = [&](const char* what, int fd) {
    return must(uv::open<uv_poll_t>(what, this, [&](uv_poll_t* h) { return uv_poll_init(loop, h, fd); }));
  };
  in_ = watch("frames in", parts_.inlet.fd());
  out_ = watch("frames out", parts_.frames_out);
  // Python's own signal handlers run on this thread, so a signal must end our wait: CPython writes a byte here.
  take_signals(signal_pipe_.write.get());
  signals_ = watch("signals", signal_pipe_.read.get());
  woken_ = must(uv::open<uv_async_t>("uv_async", this, [&](uv_async_t* h) { return uv_async_init(loop, h, wake<uv_async_t>); }));
  trim_ = must(uv::open<uv_timer_t>("trim", this, [&](uv_timer_t* h) { return uv_timer_init(loop, h); }));
  deadline_ = must(uv::open<uv_timer_t>("deadline", this, [&](uv_timer_t* h) { return uv_timer_init(loop, h); }));
  grace_ = must(uv::open<uv_timer_t>("grace", this, [&](uv_timer_t* h) { return uv_timer_init(loop, h); }));
  parts_.sentinel.on_work([async = woken_.get()] { uv_async_send(async); });
  uv_poll_start(in_.get(), UV_READABLE | UV_DISCONNECT, ignore);
  uv_poll_start(signals_.get(), UV_READABLE, [](uv_poll_t* handle, int, int) {
    wake(handle);
    std::array<char, 64> bytes;
    int fd = -1;
    if (uv_fileno(reinterpret_cast<uv_handle_t*>(handle), &fd) == 0)
      while (::read(fd, bytes.data(), bytes.size()) > 0) {
      }
  });
}

Result<SignalPipe> SignalPipe::make() {
  std::array<int, 2> pipe;
  if (::pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) return Error{Errc::os, std::string("a pipe for signals: ") + std::strerror(errno)};
  return SignalPipe{UniqueFd(pipe[0]), UniqueFd(pipe[1])};
}

MainLoop::MainLoop(const Gil&, const Parts& parts, SignalPipe signals, std::uint64_t spin_ns)
    : parts_(parts), spin_(spin_ns), signal_pipe_(std::move(signals)) {
  open_handles();
}

MainLoop::End MainLoop::run(const Gil& gil) {
  while (!ended_) {
    parts_.sentinel.busy();
    serve(gil);
    run_requests(gil);
    run_tasks(gil);
    check_signals();
    // Finalisers and signal handlers run Python code as well, and that may have forked.
    if (in_forked_child()) end_forked_child(gil);
    flush();
    parts_.outbox.collect();
    parts_.sentinel.idle();
    if (!ended_ && may_stop()) {
      // Cleaning up may want to call Erlang, so it happens in turns like this one.
      if (!parts_.tasks.ending()) parts_.tasks.begin_end(gil);
      if (parts_.tasks.has_ended(gil)) break;
    }
    if (!ended_) rest(gil);
  }
  parts_.sentinel.busy();
  return end_;
}

MainLoop::~MainLoop() {
  parts_.sentinel.on_work({});
  take_signals(-1);
}

/// signal.set_wakeup_fd, and what was there before; the C function behind it is not exported by every libpython.
int MainLoop::take_signals(int fd) {
  if (!set_wakeup_fd_) {
    const Ref module = Ref::steal(PyImport_ImportModule("_signal"));
    if (module) set_wakeup_fd_ = Ref::steal(PyObject_GetAttrString(module.get(), "set_wakeup_fd"));
    quietly_ = Ref::steal(Py_BuildValue("{s:O}", "warn_on_full_buffer", Py_False));
  }
  const Ref args = Ref::steal(set_wakeup_fd_ && quietly_ ? Py_BuildValue("(i)", fd) : nullptr);
  const Ref before = args ? Ref::steal(PyObject_Call(set_wakeup_fd_.get(), args.get(), quietly_.get())) : Ref();
  if (before) return static_cast<int>(PyLong_AsLong(before.get()));
  PyErr_WriteUnraisable(nullptr);
  return -1;
}

/// What is done in every turn, here and in wait(), before requests.
void MainLoop::serve(const Gil& gil) {
  if (obeys()) obey(gil);
  if (!serves_tasks()) return;
  if (parts_.tasks.has_loop_to_adopt()) parts_.tasks.adopt(gil);
  if (has_mail()) {
    calls_->deliver(gil);
    parts_.tasks.mark_due();
  }
}

MainWait::End MainLoop::wait(const Gil& gil, std::uint64_t callback, const BlockedThread& thread, std::uint64_t deadline) {
  Awaited awaited{callback, thread};
  awaited.outer = std::exchange(awaited_, &awaited);
  auto end = MainWait::End::answered;
  for (;;) {
    parts_.sentinel.busy();
    {
      // What is done for others here must not end with the interrupt of whoever waits.
      const InterruptPoint::Hold others(gil, parts_.interrupts);
      serve(gil);
      parts_.outbox.collect();
    }
    while (!thread.done()) {
      const auto frame = parts_.session.take_below(callback);
      if (!frame) break;
      run_one(gil, *frame);
      flush();
    }
    if (serves_tasks()) run_tasks(gil);
    if (PyErr_CheckSignals() != 0) {
      end = MainWait::End::raised;
      break;
    }
    if (in_forked_child()) end_forked_child(gil);  // as in run()
    flush();
    parts_.sentinel.idle();
    if (thread.done()) break;
    if (deadline != 0 && monotonic_ns() >= deadline) {
      end = MainWait::End::timeout;
      break;
    }
    arm_deadline(deadline);
    rest(gil);
    // The BEAM is gone: nobody will ever answer, and nobody is left to clean up for.
    if (ended_) ::_exit(end_ == End::broken ? kExitProtocol : 0);
  }
  parts_.sentinel.busy();
  awaited_ = awaited.outer;
  if (awaited.signals_before >= 0) {
    PyObject* const raised = compat::take_raised();
    take_signals(awaited.signals_before);
    if (raised) compat::restore_raised(raised);
  }
  return end;
}

void MainLoop::arm_deadline(std::uint64_t deadline) {
  if (deadline == 0) {
    uv_timer_stop(deadline_.get());
    return;
  }
  const std::uint64_t now = monotonic_ns();
  uv_update_time(parts_.uv.get());
  uv_timer_start(deadline_.get(), wake<uv_timer_t>, deadline > now ? (deadline - now) / 1'000'000 + 1 : 0, 0);
}

bool MainLoop::has_work() const {
  const bool common = (obeys() && parts_.session.has_commands()) ||
                      (serves_tasks() && (has_mail() || parts_.tasks.due() || parts_.tasks.has_loop_to_adopt()));
  if (!awaited_) return common || (parts_.session.has_requests() && !grace_over_);
  return common || awaited_->thread.done() || parts_.session.has_below(awaited_->callback);
}

/// Requests and tasks may finish, but the last quarter of the grace is for cancelling tasks and for Python's own end.
void MainLoop::begin_stop(std::uint64_t grace_ms) {
  stopping_ = true;
  uv_update_time(parts_.uv.get());
  uv_timer_start(grace_.get(), [](uv_timer_t* timer) {
    if (timer->data) static_cast<MainLoop*>(timer->data)->grace_over_ = true;
    wake(timer);
  }, grace_ms - grace_ms / 4, 0);
}

void MainLoop::obey(const Gil& gil) {
  if (!parts_.session.has_commands()) return;
  for (const auto& command : parts_.session.commands()) {
    switch (command.what) {
      case session::Command::What::cancel_task: parts_.tasks.cancel(gil, command.id); break;
      case session::Command::What::look_after_task: parts_.tasks.look_after(gil, command.id); break;
      case session::Command::What::release: parts_.handles.release(gil, command.id); break;
      case session::Command::What::stop: begin_stop(command.id); break;
    }
  }
}

void MainLoop::run_requests(const Gil& gil) {
  const std::uint64_t began = monotonic_ns();
  for (int n = 0; n < kRequestsPerTurn && !grace_over_; ++n) {
    const auto frame = parts_.session.take();
    if (!frame) return;
    run_one(gil, *frame);
    if (!parts_.session.has_requests()) return;
    // Fast calls share a write; an answer that took its time goes at once.
    const std::uint64_t now = monotonic_ns();
    // A cancel must not wait for a whole batch of slow calls, nor the tasks or the end of a grace.
    if (parts_.session.has_commands() || ((parts_.tasks.any() || stopping_) && now - began > kTurnNs)) return;
    if (parts_.outbox.bytes() <= kFlushBytes && now - last_flush_ <= kFlushAfterNs) continue;
    last_flush_ = now;
    flush();
  }
}

void MainLoop::run_one(const Gil& gil, const port::Frame& frame) {
  const std::uint64_t id = frame.header.id;
  const std::uint64_t opened = calls_ ? calls_->opened_on_main(gil) : 0;
  if (parts_.executor.run(gil, frame, {}) == Executor::Outcome::answered) parts_.session.finished(id);
  if (calls_) calls_->wind_up(gil, opened);
  if (frame.size() > kLargeFrame || parts_.outbox.bytes() > kLargeFrame) trim_later();
}

/// A while after the last large frame, what malloc kept for the next one goes back to the system: once, then all is quiet.
void MainLoop::trim_later() {
  if (uv_is_active(reinterpret_cast<uv_handle_t*>(trim_.get()))) return;
  uv_update_time(parts_.uv.get());
  uv_timer_start(trim_.get(), [](uv_timer_t*) { ::malloc_trim(0); }, kTrimAfterMs, 0);
}

void MainLoop::run_tasks(const Gil& gil) {
  if (parts_.tasks.any() && parts_.tasks.due()) parts_.tasks.step(gil);
}

void MainLoop::check_signals() {
  // An exception here comes from a handler of the user's that ran while nothing else did.
  if (PyErr_CheckSignals() != 0) PyErr_WriteUnraisable(nullptr);
}

void MainLoop::flush() {
  switch (parts_.outbox.flush()) {
    case port::Outbox::State::empty: break;
    case port::Outbox::State::blocked:
      if (!out_armed_) uv_poll_start(out_.get(), UV_WRITABLE, [](uv_poll_t* handle, int, int) { wake(handle); });
      out_armed_ = true;
      return;
    case port::Outbox::State::broken:
      ended_ = true;
      end_ = End::closed;
      break;
  }
  if (out_armed_) uv_poll_stop(out_.get());
  out_armed_ = false;
}

/// What the event loop watches, and our timers, must not starve while we never sleep. But a look costs as much as a small call.
void MainLoop::look(std::uint64_t every_ns) {
  if (!parts_.tasks.any() && !stopping_) return;
  const std::uint64_t now = monotonic_ns();
  if (now - looked_ < every_ns) return;
  looked_ = now;
  parts_.tasks.prepare_look(!serves_tasks());
  uv_run(parts_.uv.get(), UV_RUN_NOWAIT);
}

void MainLoop::rest(const Gil& gil) {
  // Other threads of Python get the GIL once per turn, however busy the callers keep us: calls of C functions never offer it.
  const bool alone = only_thread();
  awake_ = false;
  if (has_work()) {
    look(kLookEveryNs);
    read();
    if (alone) return;
    const GilRelease offered(gil);
    parts_.sentinel.busy();  // who takes the GIL now may keep it for long, and the pipe is to be read all the same
    return;
  }
  // Callers that never pause leave nothing to do at this moment, and no moment to sleep in.
  look(kLookAtLeastEveryNs);
  if (awake_ || has_work() || (alone && read())) return;
  const std::uint64_t began = monotonic_ns();
  if (!(alone && spin(began))) {
    // A loop of the user's own that handled signals in a call has taken the descriptor, and given it up; or it runs further down the
    // stack, and gets it back when this wait is over.
    const int before = take_signals(signal_pipe_.write.get());
    if (before != signal_pipe_.write.get()) {
      if (awaited_) awaited_->signals_before = before;
      return;  // a signal may have come since we last looked, and have woken nobody but that loop: look again
    }
    parts_.tasks.prepare_wait(!serves_tasks());  // no line of Python runs between this and the wait: it could set timers
    const GilRelease released(gil);
    if (alone || !spin(began)) sleep();
    parts_.sentinel.busy();  // as above
  }
  if (!ended_) spin_.frame_after(monotonic_ns() - began);
}

/// Whether no other thread of Python exists that could want the GIL: then it is kept while spinning, for giving it away and taking it back
/// costs more than a look at the pipe. A thread of C code that comes meanwhile waits for the length of a spin.
bool MainLoop::only_thread() const {
  PyThreadState* first = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
  return first && !PyThreadState_Next(first);
}

bool MainLoop::spin(std::uint64_t began) {
  if (!spin_.worth_it() || out_armed_) return false;
  for (std::uint64_t now = began; now < began + spin_.limit_ns(); now = monotonic_ns()) {
    if (read()) flush();
    if (ended_ || has_work()) return true;
    // The BEAM's schedulers may want this very core to make the frame we are looking for.
    if (now > began + kPoliteAfterNs) ::sched_yield();
  }
  return false;
}

/// Until there is something for this thread: answers for other threads of Python are handed on without asking for the GIL.
void MainLoop::sleep() {
  while (!ended_ && !awake_ && !has_work()) {
    uv_run(parts_.uv.get(), UV_RUN_ONCE);
    read();
    flush();  // what the session has answered by itself
  }
}

/// True when something came, or the end.
bool MainLoop::read() {
  switch (parts_.inlet.read()) {
    case Inlet::State::nothing: return false;
    case Inlet::State::some: return true;
    case Inlet::State::ended:
      end_ = End::closed;
      break;
    case Inlet::State::broken:
      end_ = End::broken;
      why_ = parts_.inlet.why();
      break;
  }
  ended_ = true;
  return true;
}

}  // namespace pyw::loop
