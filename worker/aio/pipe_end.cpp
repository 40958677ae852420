#include "aio/pipe_end.hpp"

#include <fcntl.h>

#include <cerrno>

#include "aio/context_scope.hpp"
#include "aio/raised.hpp"
#include "aio/settle.hpp"
#include "aio/slow_watch.hpp"

namespace pyw::aio {
namespace {

constexpr int kOften = 4;

}  // namespace

PipeEnd::PipeEnd(const Gil&, PyObject* self, Parts parts, Ref context)
    : self_(self),
      loop_(&loop_of(parts.loop.get())),
      fd_(parts.fd),
      watcher_(loop_->reactor(), this, told),
      loop_object_(std::move(parts.loop)),
      pipe_(std::move(parts.pipe)),
      protocol_(std::move(parts.protocol)),
      waiter_(std::move(parts.waiter)),
      extra_(std::move(parts.extra)),
      context_(std::move(context)) {}

bool PipeEnd::begin(const Gil& gil) {
  const int flags = ::fcntl(fd_, F_GETFL);
  if (flags < 0 || (!(flags & O_NONBLOCK) && ::fcntl(fd_, F_SETFL, flags | O_NONBLOCK) < 0)) {
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
  }
  return loop_->soon(gil, connected, self_);
}

Ref PipeEnd::call(const Gil& gil, const Ref& method, PyObject* argument) {
  const Ref protocol = Ref::share(gil, protocol_.get());  // the method may give us another
  const ContextScope scope(gil, context_.get(), in_context_);
  PyObject* args[2] = {protocol.get(), argument};
  return Ref::steal(PyObject_VectorcallMethod(method.get(), args, argument ? 2 : 1, nullptr));
}

bool PipeEnd::report(const Gil& gil, const char* message, PyObject* exception) {
  const Ref more = Ref::steal(Py_BuildValue("{s:O,s:O}", "transport", self_, "protocol", protocol_ ? protocol_.get() : Py_None));
  if (!more) PyErr_WriteUnraisable(self_);
  return loop_->report(gil, message, exception, more.get());
}

bool PipeEnd::survives(const Gil& gil, const char* message) {
  if (ends_the_run()) return false;
  const Ref exception = Ref::steal(compat::take_raised());
  return report(gil, message, exception.get());
}

bool PipeEnd::fatal(const Gil& gil, PyObject* exception, const char* message) {
  Ref pending;
  if (is_news(gil, exception)) {
    if (!report(gil, message, exception)) pending = Ref::steal(compat::take_raised());
  } else if (loop_->debug() && !Ref::steal(PyObject_CallMethod(state().helpers.get(), "transport_failed", "OsO", self_, message, exception)))
    PyErr_WriteUnraisable(self_);
  return after_the_rest(std::move(pending), force_close(gil, exception));
}

bool PipeEnd::fatal_pending(const Gil& gil, const char* message) {
  if (ends_the_run()) return false;
  const Ref exception = Ref::steal(compat::take_raised());
  return fatal(gil, exception.get(), message);
}

bool PipeEnd::watch(const Gil& gil) {
  const int events = begun_ && !lost() ? wanted() : 0;
  if (events == watcher_.events()) return true;
  if (auto watched = watcher_.watch(fd_, events); !watched) {
    if (errno == EPERM) return is_always_ready(gil);
    PyErr_SetFromErrno(PyExc_OSError);
    return fatal_pending(gil, "Fatal error: the pipe cannot be watched");
  }
  if (events != 0)
    loop_->hold(gil, self_);
  else
    loop_->let_go(self_);
  return true;
}

void PipeEnd::was_full() {
  if (++times_full_ != kOften || ::fcntl(fd_, F_GETPIPE_SZ) != static_cast<int>(kPipeSize)) return;
  (void)!::fcntl(fd_, F_SETPIPE_SZ, static_cast<int>(kLarger));  // refused: this user has many pipes, and it goes on as before
}

bool PipeEnd::told(void* owner, int events) {
  const GilHeld gil;
  auto* self = static_cast<PipeEnd*>(owner);
  const Ref alive = Ref::share(gil, self->self_);
  const SlowWatch watch(*self->loop_, alive.get());
  return self->lost() || self->ready(gil, events);
}

bool PipeEnd::connected(const Gil& gil, PyObject* owner) {
  PipeEnd& self = pipe_end_in(owner);
  if (!self.protocol_) return true;
  const bool goes_on = self.call(gil, self.state().s_connection_made, owner) || self.survives(gil, "protocol.connection_made() failed");
  // With a KeyboardInterrupt pending the rest is done all the same: another run goes on with it.
  Ref pending = Ref::steal(compat::take_raised());
  // Only now: what comes before connection_made was called must wait.
  self.begun_ = true;
  if (!self.watch(gil)) return false;
  const Ref waiter = std::move(self.waiter_);
  if (waiter && !settle(gil, self.state(), waiter.get(), nullptr)) PyErr_WriteUnraisable(owner);
  if (pending) compat::restore_raised(pending.release());
  return goes_on;
}

// The end ---------------------------------------------------------------------------------------------------------------

bool PipeEnd::force_close(const Gil& gil, PyObject* exception) {
  if (lost()) return true;
  closing_ = true;
  return lose(gil, exception);
}

bool PipeEnd::lose(const Gil& gil, PyObject* exception) {
  ++lost_count_;
  watcher_.close();
  why_lost_ = Ref::share(gil, exception);
  const bool queued = loop_->soon(gil, end, self_);
  loop_->let_go(self_);
  return queued;
}

bool PipeEnd::end(const Gil& gil, PyObject* owner) {
  PipeEnd& self = pipe_end_in(owner);
  const Ref why = std::move(self.why_lost_);
  const bool goes_on = !self.protocol_ || self.call(gil, self.state().s_connection_lost, why.get()) ||
                       self.survives(gil, "protocol.connection_lost() failed");
  // With a KeyboardInterrupt pending the rest is done all the same.
  Ref pending = Ref::steal(compat::take_raised());
  self.close_pipe(gil);
  const Ref protocol = std::move(self.protocol_);
  if (pending) compat::restore_raised(pending.release());
  return goes_on;
}

/// What its close() raises is printed.
void PipeEnd::close_pipe(const Gil&) {
  fd_ = -1;
  const Ref pipe = std::move(pipe_);
  if (pipe && !Ref::steal(PyObject_CallMethodNoArgs(pipe.get(), state().s_close.get()))) PyErr_WriteUnraisable(pipe.get());
}

void PipeEnd::finalize(const Gil& gil) {
  Ref pending = Ref::steal(compat::take_raised());
  detach();  // before the number of the descriptor may be somebody else's
  if (!Ref::steal(PyObject_CallMethod(state().helpers.get(), "unclosed", "OO", self_, Py_None))) PyErr_WriteUnraisable(self_);
  close_pipe(gil);
  if (pending) compat::restore_raised(pending.release());
}

int PipeEnd::traverse(visitproc visit, void* arg) const {
  for (const Ref* each : {&loop_object_, &pipe_, &protocol_, &waiter_, &extra_, &context_, &why_lost_})
    if (const int stop = each->traverse(visit, arg)) return stop;
  return 0;
}

void PipeEnd::clear_references() {
  for (Ref* each : {&protocol_, &waiter_, &extra_, &context_, &why_lost_}) each->reset();
}

}  // namespace pyw::aio
