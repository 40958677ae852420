#include "aio/stream_transport.hpp"
#include "aio/raised.hpp"

#include "aio/context_scope.hpp"
#include "aio/reader_buffer.hpp"
#include "aio/receive_bytes.hpp"
#include "aio/settle.hpp"
#include "aio/slow_watch.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace pyw::aio {
namespace {

/// From the fifth write to a connection that is lost on, each is logged.
constexpr int kLoggedLostWrites = 5;

/// What a connection with buffers of its own gets in a turn: several reads in a row find the same buffer in the cache.
constexpr std::size_t kBufferedShare = 4 * Loop::kScratch;

constexpr const char* kDataReceivedFailed = "Fatal error: protocol.data_received() call failed.";

StreamTransport& of(PyObject* object) { return *reinterpret_cast<StreamObject*>(object)->stream; }

}  // namespace

StreamTransport::StreamTransport(const Gil&, StreamObject* object, Parts parts, Ref context)
    : object_(object),
      loop_(&loop_of(parts.loop.get())),
      socket_(std::move(parts.socket)),
      watcher_(loop_->reactor(), this, told),
      loop_object_(std::move(parts.loop)),
      protocol_(std::move(parts.protocol)),
      waiter_(std::move(parts.waiter)),
      extra_(std::move(parts.extra)),
      server_(std::move(parts.server)),
      context_(std::move(context)) {
  loop_->claim(fd(), self());
}

StreamTransport::~StreamTransport() { detach(); }

void StreamTransport::detach() {
  watcher_.close();
  if (socket_.is_open() && !lent_) loop_->unclaim(fd(), self());
}

bool StreamTransport::begin(const Gil& gil) { return loop_->soon(gil, connected, self()); }

/// Calls a method of the protocol in our context. Empty: its exception is pending.
Ref StreamTransport::call(const Gil& gil, const Ref& method, PyObject* argument) {
  const Ref protocol = Ref::share(gil, protocol_.get());  // the method may give us another
  const ContextScope scope(gil, context_.get(), in_context_);
  PyObject* args[2] = {protocol.get(), argument};
  return Ref::steal(PyObject_VectorcallMethod(method.get(), args, argument ? 2 : 1, nullptr));
}

bool StreamTransport::report(const Gil& gil, const char* message, PyObject* exception) {
  const Ref more = Ref::steal(Py_BuildValue("{s:O,s:O}", "transport", self(), "protocol", protocol_ ? protocol_.get() : Py_None));
  if (!more) PyErr_WriteUnraisable(self());
  return loop_->report(gil, message, exception, more.get());
}

bool StreamTransport::fatal(const Gil& gil, PyObject* exception, const char* message) {
  // A connection that breaks is nothing to report: the protocol is told.
  Ref pending;
  if (!PyObject_IsInstance(exception, PyExc_OSError) && !report(gil, message, exception)) pending = Ref::steal(compat::take_raised());
  return after_the_rest(std::move(pending), force_close(gil, exception));
}

bool StreamTransport::fatal_pending(const Gil& gil, const char* message) {
  if (ends_the_run()) return false;
  const Ref exception = Ref::steal(compat::take_raised());
  return fatal(gil, exception.get(), message);
}

/// Brings what we watch in line with what we want, and has the loop hold us while that is anything.
bool StreamTransport::watch(const Gil& gil) {
  const bool reads = started_ && !closing_ && !paused_ && !saw_eof_;
  const int events = (reads ? Watcher::kReadable : 0) | (wants_to_write_ ? Watcher::kWritable : 0);
  if (lent_) return true;
  if (events == watcher_.events()) return true;
  watcher_.trust(socket_.is_private());
  if (auto watched = watcher_.watch(fd(), events); !watched) {
    PyErr_SetFromErrno(PyExc_OSError);
    return fatal_pending(gil, "Fatal error: the socket cannot be watched");
  }
  if (events != 0)
    loop_->hold(gil, self());
  else
    loop_->let_go(self());
  return true;
}

bool StreamTransport::connected(const Gil& gil, PyObject* owner) {
  StreamTransport& self = of(owner);
  if (!self.protocol_) return true;
  State& state = self.loop_->state();
  Ref pending;
  if (!self.call(gil, state.s_connection_made, owner)) {
    const bool ends = ends_the_run();
    const Ref exception = Ref::steal(compat::take_raised());
    // The rest is done all the same: another run goes on with it.
    if (ends)
      pending = Ref::share(gil, exception.get());
    else if (!self.report(gil, "Fatal error: protocol.connection_made() call failed.", exception.get()))
      pending = Ref::steal(compat::take_raised());
  }
  // Only now: what comes before connection_made was called must wait.
  self.started_ = true;
  if (!self.watch(gil)) return false;
  const Ref waiter = std::move(self.waiter_);
  if (waiter && !settle(gil, state, waiter.get(), nullptr)) PyErr_WriteUnraisable(owner);
  return after_the_rest(std::move(pending), true);
}

bool StreamTransport::told(void* owner, int events) {
  const GilHeld gil;
  auto* self = static_cast<StreamTransport*>(owner);
  const Ref alive = Ref::share(gil, self->self());
  const SlowWatch watch(*self->loop_, alive.get());
  if ((events & Watcher::kReadable) && !self->read(gil)) return false;
  return !(events & Watcher::kWritable) || !self->wants_to_write_ || self->write_ready(gil);
}

/// One read. A fair share for each connection: what is left is read in the next turn.
Ref StreamTransport::received(const Gil& gil, ssize_t& n) {
  return receive_bytes(gil, *loop_, last_read_, Loop::kScratch, n, [this](char* to, std::size_t room) { return ::recv(fd(), to, room, 0); });
}

bool StreamTransport::read(const Gil& gil) {
  if (lost_count_ > 0 || closing_ || paused_ || !protocol_) return true;
  if (buffered_) return read_into_buffers(gil);
  if (last_read_ >= ReaderBuffer::kMuch) {
    ReaderBuffer buffer(gil, loop_->state(), protocol_.get(), Loop::kScratch);
    if (buffer) return read_into_reader(gil, buffer);
    if (PyErr_Occurred()) return false;
  }
  ssize_t n = -1;
  errno = 0;
  const Ref data = received(gil, n);
  if (data) [[likely]]
    return call(gil, loop_->state().s_data_received, data.get()) || fatal_pending(gil, kDataReceivedFailed);
  return read_nothing(gil, n);
}

bool StreamTransport::read_into_reader(const Gil& gil, ReaderBuffer& buffer) {
  ssize_t n = -1;
  errno = 0;
  const bool done = buffer.receive(gil, n, [this](char* to, std::size_t room) { return ::recv(fd(), to, room, 0); });
  if (n <= 0) return read_nothing(gil, n);
  last_read_ = static_cast<std::size_t>(n);
  return done || fatal_pending(gil, kDataReceivedFailed);
}

/// The end, nothing yet, or a failure: what errno says, or the exception that is pending.
bool StreamTransport::read_nothing(const Gil& gil, ssize_t n) {
  if (!PyErr_Occurred()) {
    if (n == 0) return end_of_stream(gil);
    if (would_block(errno)) return true;
    PyErr_SetFromErrno(PyExc_OSError);
  }
  return fatal_pending(gil, "Fatal read error on socket transport");
}

/// No system call to find that there is no more: a buffer that was not filled says so.
bool StreamTransport::read_into_buffers(const Gil& gil) {
  std::size_t total = 0;
  bool filled = true;
  while (filled && total < kBufferedShare && buffered_ && is_reading() && lost_count_ == 0 && protocol_) {
    filled = false;
    if (!read_into_buffer(gil, total, filled)) return false;
  }
  return true;
}

bool StreamTransport::read_into_buffer(const Gil& gil, std::size_t& total, bool& filled) {
  State& state = loop_->state();
  const Ref hint = Ref::steal(PyLong_FromLong(-1));
  const Ref buffer = hint ? call(gil, state.s_get_buffer, hint.get()) : Ref();
  Py_buffer view{};
  bool ok = buffer && PyObject_GetBuffer(buffer.get(), &view, PyBUF_WRITABLE) == 0;
  if (ok && view.len == 0) {
    PyBuffer_Release(&view);
    PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    ok = false;
  }
  if (!ok) return fatal_pending(gil, "Fatal error: protocol.get_buffer() call failed.");
  const ssize_t n = ::recv(fd(), view.buf, static_cast<std::size_t>(view.len), 0);
  const int error = errno;
  filled = n == view.len;
  if (n > 0) total += static_cast<std::size_t>(n);
  PyBuffer_Release(&view);
  if (n == 0) return end_of_stream(gil);
  if (n < 0) {
    if (would_block(error)) return true;
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return fatal_pending(gil, "Fatal read error on socket transport");
  }
  const Ref count = Ref::steal(PyLong_FromSsize_t(n));
  return (count && call(gil, state.s_buffer_updated, count.get())) ||
         fatal_pending(gil, "Fatal error: protocol.buffer_updated() call failed.");
}

bool StreamTransport::end_of_stream(const Gil& gil) {
  const Ref keep = call(gil, loop_->state().s_eof_received);
  const int open = keep ? PyObject_IsTrue(keep.get()) : -1;
  if (open < 0) return fatal_pending(gil, "Fatal error: protocol.eof_received() call failed.");
  if (open == 0) return close(gil) || fatal_pending(gil, "Fatal error on transport");
  // The protocol goes on writing, but there is nothing more to read.
  saw_eof_ = true;
  return watch(gil);
}

// Writing -------------------------------------------------------------------------------------------------------------

/// False: an exception is pending, or, with none, the data is to be dropped.
bool StreamTransport::may_write(const Gil& gil, const char* method, PyObject* data) {
  if (!loop_->check_thread(gil)) return false;
  if (eof_) {
    PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
    return false;
  }
  if (empty_waiter_) {
    PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", method);
    return false;
  }
  if (lost_count_ == 0) return true;
  if (PyObject_Length(data) <= 0) {  // nothing, or a generator, whose length nobody knows
    PyErr_Clear();
    return false;
  }
  if (lost_count_++ >= kLoggedLostWrites && !Ref::steal(PyObject_CallMethod(loop_->state().helpers.get(), "sending_was_too_late", nullptr))) return false;
  return false;
}

bool StreamTransport::write(const Gil& gil, PyObject* data) {
  if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
    PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%s'", Py_TYPE(data)->tp_name);
    return false;
  }
  if (!may_write(gil, "write", data)) return !PyErr_Occurred();
  std::size_t sent = 0;
  if (queue_.empty() && (wrote_in_turn_ != loop_->turns() || !loop_->in_turn())) {
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return false;
    const auto size = static_cast<std::size_t>(view.len);
    const ssize_t n = size == 0 ? 0 : ::send(fd(), view.buf, size, MSG_NOSIGNAL);
    const int error = errno;
    PyBuffer_Release(&view);
    if (n == static_cast<ssize_t>(size)) [[likely]] {
      if (size != 0) wrote_in_turn_ = loop_->turns();
      return true;
    }
    if (n < 0 && !would_block(error)) {
      errno = error;
      PyErr_SetFromErrno(PyExc_OSError);
      return fatal_pending(gil, "Fatal write error on socket transport");
    }
    sent = n < 0 ? 0 : static_cast<std::size_t>(n);
    wants_to_write_ = true;
  }
  const std::size_t before = queue_.size();
  if (!queue_.push(gil, data, sent)) return false;
  if (queue_.size() == before) return true;
  if (!wants_to_write_ && !flush_queued_) {
    if (!loop_->at_end_of_turn(gil, flush_collected, self())) return false;
    flush_queued_ = true;
  }
  return watch(gil) && (queue_.size() <= marks_.high || tell(gil, true));
}

bool StreamTransport::write_lines(const Gil& gil, PyObject* lines) {
  if (!may_write(gil, "writelines", lines)) return !PyErr_Occurred();
  const Ref all = Ref::steal(PySequence_Fast(lines, "writelines() needs an iterable of bytes-like objects"));
  if (!all) return false;
  if (!queue_.push_all(gil, all.get())) return false;
  if (queue_.size() == 0 || wants_to_write_) return queue_.size() <= marks_.high || tell(gil, true);
  return flush(gil) && (queue_.size() <= marks_.high || tell(gil, true));
}

/// What was written after the first write of the turn.
bool StreamTransport::flush_collected(const Gil& gil, PyObject* owner) {
  StreamTransport& self = of(owner);
  self.flush_queued_ = false;
  return !self.has_collected() || self.flush(gil);
}

bool StreamTransport::write_ready(const Gil& gil) { return lost_count_ > 0 || flush(gil); }

/// Writes what the socket takes. False: an exception that ends the run.
bool StreamTransport::flush(const Gil& gil) {
  while (!queue_.empty()) {
    std::array<iovec, WriteQueue::kPieces> pieces;
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = static_cast<std::size_t>(queue_.pieces(pieces));
    const ssize_t n = ::sendmsg(fd(), &message, MSG_NOSIGNAL);
    if (n < 0) {
      if (would_block(errno)) break;
      PyErr_SetFromErrno(PyExc_OSError);
      const Ref exception = Ref::steal(compat::take_raised());
      const Ref waiting = Ref::share(gil, empty_waiter_.get());
      if (!fatal(gil, exception.get(), "Fatal write error on socket transport")) return false;
      settle_empty_waiter(gil, exception.get());
      return true;
    }
    const bool last = message.msg_iovlen < WriteQueue::kPieces;
    const std::size_t all = queue_.size();
    queue_.drop(static_cast<std::size_t>(n));
    if (last && static_cast<std::size_t>(n) < all) break;
  }
  wants_to_write_ = !queue_.empty();
  if (protocol_paused_ && queue_.size() <= marks_.low && !tell(gil, false)) return false;  // which may write more
  if (queue_.empty() && !all_has_left(gil)) return false;
  return lost_count_ > 0 || watch(gil);
}

bool StreamTransport::all_has_left(const Gil& gil) {
  wants_to_write_ = false;
  if (empty_waiter_) lend(gil);
  if (closing_ && lost_count_ == 0) return lose(gil, Py_None);
  if (eof_) ::shutdown(fd(), SHUT_WR);
  return true;
}

/// pause_writing or resume_writing. What the protocol raises is reported, and the connection goes on.
bool StreamTransport::tell(const Gil& gil, bool pause) {
  if (protocol_paused_ == pause || !protocol_) return true;
  protocol_paused_ = pause;
  State& state = loop_->state();
  // To pause it is told by who writes, in whose context that is.
  const Ref protocol = Ref::share(gil, protocol_.get());
  if (pause ? Ref::steal(PyObject_CallMethodNoArgs(protocol.get(), state.s_pause_writing.get())) : call(gil, state.s_resume_writing)) return true;
  if (ends_the_run()) return false;
  const Ref exception = Ref::steal(compat::take_raised());
  return report(gil, pause ? "protocol.pause_writing() failed" : "protocol.resume_writing() failed", exception.get());
}

bool StreamTransport::set_marks(const Gil& gil, WaterMarks marks) {
  marks_ = marks;
  return queue_.size() <= marks_.high || tell(gil, true);
}

bool StreamTransport::write_eof(const Gil& gil) {
  if (!loop_->check_thread(gil)) return false;
  if (closing_ || eof_) return true;
  eof_ = true;
  if (!queue_.empty() || ::shutdown(fd(), SHUT_WR) == 0) return true;
  PyErr_SetFromErrno(PyExc_OSError);
  return false;
}

// Reading on and off ----------------------------------------------------------------------------------------------------

bool StreamTransport::pause_reading(const Gil& gil) {
  if (!loop_->check_thread(gil)) return false;
  if (closing_ || paused_) return true;
  paused_ = true;
  return watch(gil);
}

bool StreamTransport::resume_reading(const Gil& gil) {
  if (!loop_->check_thread(gil)) return false;
  if (closing_ || !paused_) return true;
  paused_ = false;
  return watch(gil);
}

bool StreamTransport::set_protocol(const Gil& gil, PyObject* protocol) {
  const int buffered = wants_buffers(gil, loop_->state().buffered_protocol, protocol);
  if (buffered < 0) return false;
  buffered_ = buffered == 1;
  Ref before = std::exchange(protocol_, Ref::share(gil, protocol));
  return true;
}

// The end ---------------------------------------------------------------------------------------------------------------

bool StreamTransport::close(const Gil& gil) {
  if (closing_) return true;
  if (!loop_->check_thread(gil)) return false;
  closing_ = true;
  return queue_.empty() ? lose(gil, Py_None) : watch(gil);
}

bool StreamTransport::force_close(const Gil& gil, PyObject* exception) {
  if (lost_count_ > 0) return true;
  queue_.clear();
  wants_to_write_ = false;
  closing_ = true;
  return lose(gil, exception);
}

bool StreamTransport::abort(const Gil& gil) {
  return loop_->check_thread(gil) && (!has_collected() || flush(gil)) && force_close(gil, Py_None);
}

/// Has connection_lost called, once.
bool StreamTransport::lose(const Gil& gil, PyObject* exception) {
  ++lost_count_;
  watcher_.close();
  why_lost_ = Ref::share(gil, exception);
  const bool queued = loop_->soon(gil, lost, self());
  loop_->let_go(self());
  return queued;
}

bool StreamTransport::lost(const Gil& gil, PyObject* owner) { return of(owner).end(gil, of(owner).why_lost_.get()); }

bool StreamTransport::end(const Gil& gil, PyObject* exception) {
  State& state = loop_->state();
  bool goes_on = true;
  const Ref why = Ref::share(gil, exception);
  if (protocol_ && !call(gil, state.s_connection_lost, why.get())) {
    goes_on = !ends_the_run();
    if (goes_on) {
      const Ref raised = Ref::steal(compat::take_raised());
      goes_on = report(gil, "Fatal error: protocol.connection_lost() call failed.", raised.get());
    }
  }
  // With a KeyboardInterrupt pending the rest is done all the same.
  Ref pending = goes_on ? Ref() : Ref::steal(compat::take_raised());
  if (!lent_) loop_->unclaim(fd(), self());
  const Ref server = std::move(server_), protocol = std::move(protocol_);
  socket_.close(gil, state);
  if (server && !tell_server(gil, state.s_detach, server.get(), self())) PyErr_WriteUnraisable(server.get());
  if (empty_waiter_) {
    const Ref gone = Ref::steal(PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer"));
    settle_empty_waiter(gil, gone.get());
  }
  if (pending) compat::restore_raised(pending.release());
  return goes_on;
}

// For sendfile ----------------------------------------------------------------------------------------------------------

void StreamTransport::settle_empty_waiter(const Gil& gil, PyObject* exception) {
  if (empty_waiter_ && !settle(gil, loop_->state(), empty_waiter_.get(), exception)) PyErr_WriteUnraisable(self());
}

PyObject* StreamTransport::make_empty_waiter(const Gil& gil) {
  if (empty_waiter_) {
    PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
    return nullptr;
  }
  empty_waiter_ = Ref::steal(PyObject_CallMethod(loop_object_.get(), "create_future", nullptr));
  if (!empty_waiter_) return nullptr;
  if (queue_.empty()) lend(gil);
  Py_INCREF(empty_waiter_.get());
  return empty_waiter_.get();
}

/// All has left: others may use the descriptor now.
void StreamTransport::lend(const Gil& gil) {
  lent_ = true;
  watcher_.close();
  loop_->unclaim(fd(), self());
  const Ref alive = Ref::share(gil, self());
  loop_->let_go(self());
  settle_empty_waiter(gil, nullptr);
}

bool StreamTransport::reset_empty_waiter(const Gil& gil) {
  empty_waiter_ = Ref();
  if (std::exchange(lent_, false) && socket_.is_open()) loop_->claim(fd(), self());
  return lost_count_ > 0 || watch(gil);
}

int StreamTransport::traverse(visitproc visit, void* arg) const {
  for (const Ref* each : {&loop_object_, &protocol_, &waiter_, &extra_, &server_, &context_, &empty_waiter_, &why_lost_})
    if (const int stop = each->traverse(visit, arg)) return stop;
  if (const int stop = socket_.traverse(visit, arg)) return stop;
  return queue_.traverse(visit, arg);
}

void StreamTransport::clear_references() {
  for (Ref* each : {&protocol_, &waiter_, &extra_, &server_, &context_, &empty_waiter_, &why_lost_}) each->reset();
}

}  // namespace pyw::aio
