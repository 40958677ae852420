#include "aio/datagram.hpp"
#include "aio/raised.hpp"

#include <cerrno>

#include "aio/context_scope.hpp"
#include "aio/receive_room.hpp"
#include "aio/slow_watch.hpp"

namespace pyw::aio {

// Life ------------------------------------------------------------------------------------------------------------------

Datagram::Datagram(const Gil& gil, PyObject* self, PyObject* loop, PyObject* sock, PyObject* protocol, PyObject* address, int family)
    : self_(self),
      state_(loop_of(loop).state()),
      loop_(Ref::share(gil, loop)),
      sock_(Ref::share(gil, sock)),
      protocol_(Ref::share(gil, protocol)),
      address_(Ref::share(gil, address)),
      book_(family),
      family_(family) {}

Datagram::~Datagram() {
  const GilHeld gil;
  detach(gil);
}

bool Datagram::open(const Gil& gil, PyObject* waiter, PyObject* extra) {
  if (!check_loop(gil) || !can_be_connected(state_, protocol())) return false;
  const Ref number = Ref::steal(PyObject_CallMethod(sock(), "fileno", nullptr));
  if (!number) return false;
  fd_ = static_cast<int>(PyLong_AsLong(number.get()));
  if (fd_ < 0) {
    if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %d", fd_);
    return false;
  }
  context_ = Ref::steal(PyContext_CopyCurrent());
  if (!context_) return false;
  const auto put = [&](const char* key, const Ref& value) { return value && PyDict_SetItemString(extra, key, value.get()) == 0; };
  const auto name = [&](const char* method) {
    Ref found = Ref::steal(PyObject_CallMethod(sock(), method, nullptr));
    if (found || !PyErr_ExceptionMatches(PyExc_OSError)) return found;
    PyErr_Clear();  // it has none
    return Ref::share(gil, Py_None);
  };
  if (!put("socket", Ref::steal(PyObject_CallOneArg(state_.transport_socket.get(), sock()))) || !put("sockname", name("getsockname"))) return false;
  PyObject* peer = PyDict_GetItemString(extra, "peername");
  if (!peer) {
    if (!put("peername", name("getpeername"))) return false;
    peer = PyDict_GetItemString(extra, "peername");
  }
  connected_ = peer && peer != Py_None;  // asyncio takes a peer without a name, as in a socket pair, for none
  if (PyObject_SetAttrString(self(), "_extra", extra) != 0) return false;
  if (waiter != Py_None) waiter_ = Ref::share(gil, waiter);
  if (!use_.begin(gil, state_, sock())) return false;
  watcher_.emplace(loop().reactor(), this, told);
  loop().claim(fd_, self());
  claimed_ = true;
  loop().hold(gil, self());
  return loop().soon(gil, made, self()) && loop().soon(gil, begin, self());
}

bool Datagram::made(const Gil& gil, PyObject* object) { return datagram_in(object).tell(gil, datagram_in(object).state_.s_connection_made, object, nullptr); }

/// Reads only after connection_made, and whoever waits is told after that.
bool Datagram::begin(const Gil& gil, PyObject* object) {
  Datagram& self = datagram_in(object);
  self.begun_ = true;
  if (self.is_reading() && !self.watch(gil, Watcher::kReadable, 0) && !self.survives(gil, "a datagram socket cannot be watched")) return false;
  const Ref waiter = std::move(self.waiter_);
  if (!waiter) return true;
  const Ref done = Ref::steal(PyObject_CallMethodNoArgs(waiter.get(), self.state_.s_done.get()));
  if (done && done.get() == Py_True) return true;
  if (done && Ref::steal(PyObject_CallMethodOneArg(waiter.get(), self.state_.s_set_result.get(), Py_None))) return true;
  return self.survives(gil, "whoever waits for a datagram endpoint cannot be told");
}

void Datagram::detach(const Gil&) {
  watcher_.reset();
  if (!loop_ || fd_ < 0) return;
  unclaim();
  loop().let_go(self());
}

void Datagram::unclaim() {
  if (std::exchange(claimed_, false)) loop().unclaim(fd_, self());
}

void Datagram::drop(const Gil& gil) {
  detach(gil);
  drop_queue();
  unread_.clear();
  if (sock_) use_.end(gil, sock());
  for (Ref* each : {&loop_, &sock_, &protocol_, &context_, &address_, &waiter_, &reason_}) each->reset();
}

int Datagram::traverse(visitproc visit, void* arg) const {
  for (const Ref* each : {&loop_, &sock_, &protocol_, &context_, &address_, &waiter_, &reason_})
    if (const int stop = each->traverse(visit, arg)) return stop;
  return 0;
}

void Datagram::finalize(const Gil& gil) {
  if (!sock_) return;
  Ref pending = Ref::steal(compat::take_raised());
  if (PyErr_ResourceWarning(self(), 1, "unclosed transport %R", self()) != 0) PyErr_WriteUnraisable(self());
  detach(gil);
  if (!close_socket(gil)) PyErr_WriteUnraisable(self());
  if (pending) compat::restore_raised(pending.release());
}

/// False: an exception is pending.
bool Datagram::close_socket(const Gil& gil) {
  const Ref sock = std::move(sock_);
  const bool closed = static_cast<bool>(Ref::steal(PyObject_CallMethodNoArgs(sock.get(), state_.s_close.get())));
  use_.end(gil, sock.get());
  return closed;
}

bool Datagram::check_loop(const Gil& gil) const {
  if (loop_ && loop().is_open() && !loop().closed()) [[likely]] return loop().check_thread(gil);
  PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
  return false;
}

bool Datagram::close(const Gil& gil) {
  if (closing_) return true;
  if (!check_loop(gil)) return false;
  closing_ = true;
  unread_.clear();
  unclaim();
  if (!watch(gil, 0, Watcher::kReadable)) return false;
  return !queue_.empty() || lose(gil);
}

bool Datagram::abort(const Gil& gil) { return force_close(gil, nullptr); }

bool Datagram::force_close(const Gil& gil, PyObject* exception) {
  if (lost_ > 0) return true;
  if (!check_loop(gil)) return false;
  drop_queue();
  unclaim();
  closing_ = true;
  unread_.clear();
  if (exception) reason_ = Ref::share(gil, exception);
  return lose(gil);
}

bool Datagram::lose(const Gil& gil) {
  ++lost_;
  if (!watch(gil, 0, Watcher::kReadable | Watcher::kWritable)) return false;
  return loop().soon(gil, lost, self());
}

bool Datagram::lost(const Gil& gil, PyObject* object) {
  Datagram& self = datagram_in(object);
  if (!self.sock_) return true;
  const Ref reason = self.reason_ ? std::move(self.reason_) : Ref::share(gil, Py_None);
  bool goes_on = self.tell(gil, self.state_.s_connection_lost, reason.get(), nullptr);
  Ref ending = Ref::steal(compat::take_raised());
  self.detach(gil);  // before the number of the descriptor may be somebody else's
  const Ref protocol = std::move(self.protocol_);
  if (!self.close_socket(gil)) {
    const bool ours = self.survives(gil, "a datagram socket cannot be closed");
    goes_on = goes_on && ours;
  }
  const Ref loop = std::move(self.loop_);
  if (ending) compat::restore_raised(ending.release());
  return goes_on;
}

/// False: OSError is pending.
bool Datagram::watch(const Gil&, int add, int drop) {
  if (!watcher_) return true;  // the loop is closed
  if (auto watched = watcher_->watch(fd_, (watcher_->events() | add) & ~drop); watched) return true;
  PyErr_SetFromErrno(PyExc_OSError);
  return false;
}

bool Datagram::told(void* owner, int events) {
  const GilHeld gil;
  auto* transport = static_cast<Datagram*>(owner);
  const Ref alive = Ref::share(gil, transport->self());
  if (!transport->loop_) return true;
  const SlowWatch watch(transport->loop(), alive.get());
  if ((events & Watcher::kReadable) && !transport->read(gil)) return false;
  return !(events & Watcher::kWritable) || transport->flush(gil);
}

// The protocol ----------------------------------------------------------------------------------------------------------

/// Calls a method of the protocol from the loop, in the transport's context. False: an exception is pending that ends the run.
bool Datagram::tell(const Gil& gil, const Ref& method, PyObject* first, PyObject* second) {
  if (!protocol_) return true;
  const Ref called = Ref::share(gil, protocol());
  PyObject* args[3] = {called.get(), first, second};
  bool ok;
  {
    const ContextScope scope(gil, context_.get(), in_context_);
    ok = static_cast<bool>(Ref::steal(PyObject_VectorcallMethod(method.get(), args, second ? 3 : 2, nullptr)));
  }
  if (ok) [[likely]] return true;
  const char* name = PyUnicode_AsUTF8(method.get());
  return survives(gil, (std::string("Exception in callback ") + (name ? name : "") + "()").c_str());
}

/// What is pending goes to the loop's exception handler. False: it is one that ends the run, and still pending.
bool Datagram::survives(const Gil& gil, const char* message) {
  if (!PyErr_Occurred()) return true;
  if (ends_the_run()) return false;
  const Ref exception = Ref::steal(compat::take_raised());
  const Ref more = Ref::steal(Py_BuildValue("{sOsO}", "transport", self(), "protocol", protocol() ? protocol() : Py_None));
  return !loop_ || loop().report(gil, message, exception.get(), more.get());
}

bool Datagram::maybe_pause(const Gil& gil) {
  if (queued_ <= marks_.high || protocol_paused_ || !protocol_) return true;
  protocol_paused_ = true;
  const Ref called = Ref::share(gil, protocol());
  if (Ref::steal(PyObject_CallMethodNoArgs(called.get(), state_.s_pause_writing.get()))) return true;
  return survives(gil, "protocol.pause_writing() failed");
}

bool Datagram::maybe_resume(const Gil& gil) {
  if (queued_ > marks_.low || !protocol_paused_ || !protocol_) return true;
  protocol_paused_ = false;
  const Ref called = Ref::share(gil, protocol());
  const ContextScope scope(gil, context_.get(), in_context_);
  if (Ref::steal(PyObject_CallMethodNoArgs(called.get(), state_.s_resume_writing.get()))) return true;
  return survives(gil, "protocol.resume_writing() failed");
}

/// What is pending ends the transport. False: it ends the run instead, and is still pending.
bool Datagram::fatal(const Gil& gil, const char* message) {
  if (ends_the_run()) return false;
  const Ref exception = Ref::steal(compat::take_raised());
  if (!loop_) return true;
  Ref pending;
  if (PyErr_GivenExceptionMatches(exception.get(), PyExc_OSError)) {
    if (loop().debug() &&
        !Ref::steal(PyObject_CallMethod(state_.helpers.get(), "transport_failed", "OsO", self(), message, exception.get())))
      PyErr_WriteUnraisable(self());
  } else {
    const Ref more = Ref::steal(Py_BuildValue("{sOsO}", "transport", self(), "protocol", protocol() ? protocol() : Py_None));
    if (!loop().report(gil, message, exception.get(), more.get())) pending = Ref::steal(compat::take_raised());
  }
  return after_the_rest(std::move(pending), force_close(gil, exception.get()));
}

// Receiving -------------------------------------------------------------------------------------------------------------

bool Datagram::pause_reading(const Gil& gil) {
  if (!is_reading()) return true;
  if (!check_loop(gil)) return false;
  paused_ = true;
  return watch(gil, 0, Watcher::kReadable);
}

bool Datagram::resume_reading(const Gil& gil) {
  if (closing_ || !paused_) return true;
  if (!check_loop(gil)) return false;
  paused_ = false;
  if (!unread_.empty() && !loop().soon(gil, catch_up, self())) return false;
  return !begun_ || watch(gil, Watcher::kReadable, 0);
}

bool Datagram::catch_up(const Gil& gil, PyObject* object) { return datagram_in(object).deliver(gil, nullptr, 0); }

bool Datagram::read(const Gil& gil) {
  if (!is_reading()) return true;
  if (!unread_.empty()) return deliver(gil, nullptr, 0);
  Arrived arrived[ReceiveRoom::kMost];
  const int count = loop().receive_room().receive(gil, fd_, family_, [&](std::size_t i, Ref data) { arrived[i].data = std::move(data); });
  if (count < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return true;
    PyErr_SetFromErrno(PyExc_OSError);
    const Ref error = Ref::steal(compat::take_raised());
    return tell(gil, state_.s_error_received, error.get(), nullptr);
  }
  // The room is free for others from here on: naming runs Python's allocator, and so any code.
  SockAddress from[ReceiveRoom::kMost];
  for (int i = 0; i < count; ++i) from[i] = loop().receive_room().from(static_cast<std::size_t>(i));
  bool complete = true;
  for (int i = 0; i < count && complete; ++i) complete = arrived[i].data && (arrived[i].from = book_.name_of(gil, from[i]));
  if (!complete) return fatal(gil, "Fatal read error on datagram transport");
  return deliver(gil, arrived, static_cast<std::size_t>(count));
}

/// What was kept, then these. The protocol may pause or close the transport at each: the rest is kept, or dropped.
bool Datagram::deliver(const Gil& gil, Arrived* arrived, std::size_t count) {
  for (std::size_t i = 0; i < count && !unread_.empty(); ++i) unread_.push_back(std::move(arrived[i]));
  std::size_t told = 0;
  bool goes_on = true;
  while (goes_on && is_reading()) {
    if (!unread_.empty()) {
      const Arrived next = std::move(unread_.front());
      unread_.pop_front();
      goes_on = tell(gil, state_.s_datagram_received, next.data.get(), next.from.get());
    } else if (told < count) {
      const Arrived& next = arrived[told++];
      goes_on = tell(gil, state_.s_datagram_received, next.data.get(), next.from.get());
    } else {
      return true;
    }
  }
  if (!closing_)
    for (; told < count; ++told) unread_.push_back(std::move(arrived[told]));
  if (!goes_on && !closing_ && !unread_.empty() && loop_) loop().soon(gil, catch_up, self());
  return goes_on;
}

// Sending ---------------------------------------------------------------------------------------------------------------

bool Datagram::sendto(const Gil& gil, PyObject* data, PyObject* name) {
  if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
    const Ref type = Ref::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(data)), "__name__"));
    if (type) PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not %R", type.get());
    return false;
  }
  if (address_ && address_.get() != Py_None) {
    if (name != Py_None && name != address_.get()) {
      const int same = PyObject_RichCompareBool(name, address_.get(), Py_EQ);
      if (same < 0) return false;
      if (same == 0) {
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", address_.get());
        return false;
      }
    }
    name = address_.get();
  }
  if (lost_ > 0 || !loop_) {
    constexpr int kLostSendsThatWarn = 5;  // asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES
    return lost_++ < kLostSendsThatWarn || Ref::steal(PyObject_CallMethod(state_.helpers.get(), "sending_was_too_late", nullptr));
  }
  if (!loop().check_thread(gil)) return false;
  if (queue_.empty()) {
    switch (try_send(gil, data, name)) {
      case Sent::yes:
        return true;
      case Sent::refused: {
        const Ref error = Ref::steal(compat::take_raised()), called = Ref::share(gil, protocol());
        return static_cast<bool>(Ref::steal(PyObject_CallMethodOneArg(called.get(), state_.s_error_received.get(), error.get())));
      }
      case Sent::failed:
        return fatal(gil, "Fatal write error on datagram transport");
      case Sent::blocked:
        break;
    }
    if (!check_loop(gil) || !watch(gil, Watcher::kWritable, 0)) return false;
  }
  Waiting waiting{PyBytes_CheckExact(data) ? Ref::share(gil, data) : Ref::steal(PyBytes_FromObject(data)), Ref::share(gil, name), {}};
  if (!waiting.data) return false;
  if (!connected_)
    if (const SockAddress* found = book_.find(gil, name)) waiting.address = *found;
  queued_ += static_cast<std::size_t>(PyBytes_GET_SIZE(waiting.data.get())) + kHeader;
  queue_.push_back(std::move(waiting));
  return maybe_pause(gil);
}

/// refused, failed: an exception is pending.
Datagram::Sent Datagram::try_send(const Gil& gil, PyObject* data, PyObject* name) {
  const SockAddress* to = nullptr;
  if (!connected_ && !(to = book_.find(gil, name))) return send_with_python(gil, data, name);
  Py_buffer bytes;
  if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) != 0) return Sent::failed;
  ssize_t sent;
  do sent = ::sendto(fd_, bytes.buf, static_cast<std::size_t>(bytes.len), MSG_DONTWAIT | MSG_NOSIGNAL, to ? &to->any : nullptr, to ? to->size : 0);
  while (sent < 0 && errno == EINTR);
  const int error = errno;
  PyBuffer_Release(&bytes);
  if (sent >= 0) [[likely]] return Sent::yes;
  if (error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS) return Sent::blocked;
  errno = error;
  PyErr_SetFromErrno(PyExc_OSError);
  return Sent::refused;
}

Datagram::Sent Datagram::send_with_python(const Gil&, PyObject* data, PyObject* name) {
  if (Ref::steal(PyObject_CallMethod(sock(), "sendto", "OO", data, name))) return Sent::yes;
  if (PyErr_ExceptionMatches(PyExc_BlockingIOError) || PyErr_ExceptionMatches(PyExc_InterruptedError)) {
    PyErr_Clear();  // no failure: it waits in the queue
    return Sent::blocked;
  }
  return PyErr_ExceptionMatches(PyExc_OSError) ? Sent::refused : Sent::failed;
}

void Datagram::pop() {
  const Waiting gone = std::move(queue_.front());
  queue_.pop_front();
  queued_ -= static_cast<std::size_t>(PyBytes_GET_SIZE(gone.data.get())) + kHeader;
}

void Datagram::drop_queue() {
  const auto gone = std::exchange(queue_, {});
  queued_ = 0;
}

/// Sends what is first in the queue, as much as one system call takes, and does not pop it. How many; -1: errno.
int Datagram::send_many(const Gil&) {
  constexpr std::size_t kMost = 32;
  mmsghdr messages[kMost] = {};
  iovec data[kMost];
  std::size_t count = 0;
  for (; count < kMost && count < queue_.size(); ++count) {
    Waiting& waiting = queue_[count];
    if (!connected_ && waiting.address.size == 0) break;
    data[count] = {PyBytes_AS_STRING(waiting.data.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(waiting.data.get()))};
    msghdr& header = messages[count].msg_hdr;
    header.msg_iov = &data[count];
    header.msg_iovlen = 1;
    if (connected_) continue;
    header.msg_name = &waiting.address.any;
    header.msg_namelen = waiting.address.size;
  }
  return ::sendmmsg(fd_, messages, static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool Datagram::flush(const Gil& gil) {
  while (!queue_.empty()) {
    Sent sent = Sent::yes;
    if (!connected_ && queue_.front().address.size == 0) {
      const Ref data = Ref::share(gil, queue_.front().data.get()), name = Ref::share(gil, queue_.front().name.get());
      sent = send_with_python(gil, data.get(), name.get());
      if (queue_.empty()) break;  // what it ran has aborted the transport
      if (sent != Sent::blocked) pop();
    } else {
      const int count = send_many(gil);
      for (int i = 0; i < count; ++i) pop();
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)) {
        sent = Sent::blocked;
      } else if (count < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        pop();
        sent = Sent::refused;
      }
    }
    if (sent == Sent::blocked) break;
    if (sent == Sent::failed) return fatal(gil, "Fatal write error on datagram transport");
    if (sent == Sent::refused) {
      const Ref error = Ref::steal(compat::take_raised());
      return tell(gil, state_.s_error_received, error.get(), nullptr);  // the rest at the next event
    }
  }
  if (!maybe_resume(gil)) return false;  // it may send more
  if (!queue_.empty() || !loop_) return true;
  if (!watch(gil, 0, Watcher::kWritable)) return survives(gil, "a datagram socket cannot be watched");
  return !closing_ || lost_ > 0 || lose(gil);
}

bool Datagram::set_marks(const Gil& gil, WaterMarks marks) {
  marks_ = marks;
  return maybe_pause(gil);
}

}  // namespace pyw::aio
