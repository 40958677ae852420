// Tls: how bytes move. Received ones through ssl to the application, the application's through ssl to the transport, and who is told to pause.

#include <algorithm>
#include <cstring>
#include <vector>

#include "aio/context_scope.hpp"
#include "aio/tls_protocol.hpp"

namespace pyw::aio {
namespace {

constexpr std::size_t kRecord = 16u << 10;        ///< plain bytes that one record holds at most
constexpr std::size_t kRecordAndMore = kRecord + 512;  ///< and encrypted ones, about
constexpr std::size_t kBuffer = 256u << 10;       ///< for one read of the transport; asyncio's size
constexpr std::size_t kSendAt = 256u << 10;       ///< a large message is sent in parts of this size, while they are in the cache
constexpr std::size_t kFlushAt = 64u << 10;       ///< so much does not wait for the end of the turn

Ref call(const Ref& callable, PyObject* first, PyObject* second = nullptr) {
  PyObject* args[3] = {nullptr, first, second};
  const std::size_t nargs = second ? 2 : 1;
  return Ref::steal(PyObject_Vectorcall(callable.get(), args + 1, nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
}

Ref call_method(PyObject* object, const Ref& name, PyObject* argument = nullptr) {
  PyObject* args[2] = {object, argument};
  return Ref::steal(PyObject_VectorcallMethod(name.get(), args, (argument ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
}

/// The bytes of an object, for as long as this lives.
class View {
 public:
  View(PyObject* object, int flags) : ok_(PyObject_GetBuffer(object, &view_, flags) == 0) {}
  ~View() {
    if (ok_) PyBuffer_Release(&view_);
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  explicit operator bool() const { return ok_; }  ///< false: an exception is pending
  char* data() const { return static_cast<char*>(view_.buf); }
  std::size_t size() const { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_;
  bool ok_;
};

/// Whether a piece that waits is as large as when it was given to us. A bytearray may have been changed by code that ran since.
bool is_still(const View& view, std::size_t size) {
  if (!view) return false;
  if (view.size() != size) PyErr_SetString(PyExc_BufferError, "data that was given to a transport changed its size before it was sent");
  return view.size() == size;
}

Ref memory(char* data, std::size_t size, int flags) { return Ref::steal(PyMemoryView_FromMemory(data, static_cast<Py_ssize_t>(size), flags)); }

/// Changes the size of bytes that nobody else has seen. False: MemoryError is pending, and it is gone.
bool resize(Ref& bytes, std::size_t size) {
  PyObject* raw = bytes.release();
  const bool ok = _PyBytes_Resize(&raw, static_cast<Py_ssize_t>(size)) == 0;
  bytes = Ref::steal(raw);
  return ok;
}

std::size_t size_of(const Ref& bytes) { return static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get())); }

Tls& tls_of(PyObject* owner) { return reinterpret_cast<TlsObject*>(owner)->tls; }

}  // namespace

bool Tls::pending(const Ref& bio, std::size_t& size) {
  const Ref value = Ref::steal(PyObject_GetAttr(bio.get(), state_.s_pending.get()));
  if (!value) return false;
  size = PyLong_AsSize_t(value.get());
  return size != static_cast<std::size_t>(-1) || !PyErr_Occurred();
}

Ref Tls::tell_app(const Gil& gil, const Ref& method, PyObject* argument) {
  const Ref app = Ref::share(gil, app_protocol_.get());
  return tell(gil, app, method, argument);
}

Ref Tls::tell(const Gil& gil, const Ref& app, const Ref& method, PyObject* argument) {
  const ContextScope inside(gil, context_.get(), in_app_);
  return call_method(app.get(), method, argument);
}

// Received --------------------------------------------------------------------------------------------------------------

bool Tls::make_buffer(const Gil& gil) {
  const auto fresh = [] {
    const Ref bytes = Ref::steal(PyByteArray_FromStringAndSize(nullptr, kBuffer));
    return bytes ? Ref::steal(PyMemoryView_FromObject(bytes.get())) : Ref();
  };
  if (!shared_buffer_) return static_cast<bool>(buffer_ = fresh());
  buffer_ = Ref::steal(PyObject_GetAttr(loop_.get(), state_.s_buffer.get()));
  if (!buffer_ && !PyErr_ExceptionMatches(PyExc_AttributeError)) return false;
  PyErr_Clear();  // the first connection of this loop
  if (buffer_ && PyMemoryView_Check(buffer_.get())) return true;
  buffer_ = fresh();
  (void)gil;
  return buffer_ && PyObject_SetAttr(loop_.get(), state_.s_buffer.get(), buffer_.get()) == 0;
}

PyObject* Tls::buffer(const Gil& gil) {
  if (!buffer_ && !make_buffer(gil)) return nullptr;
  return Ref::share(gil, buffer_.get()).release();
}

bool Tls::buffer_updated(const Gil& gil, std::size_t size) {
  if (!buffer_ || size > kBuffer) {
    PyErr_SetString(PyExc_ValueError, "buffer_updated() with more bytes than get_buffer() had room for");
    return false;
  }
  auto* data = static_cast<char*>(PyMemoryView_GET_BUFFER(buffer_.get())->buf);
  const Ref part = memory(data, size, PyBUF_READ);
  return part && feed(gil, part.get(), data, size);
}

bool Tls::feed(const Gil& gil, PyObject* holder, const char* data, std::size_t size) {
  if (!call(take_in_, holder)) return false;
  records_.feed(data, size);
  return received(gil);
}

bool Tls::received(const Gil& gil) {
  switch (phase_) {
    case Phase::kHandshake: return do_handshake(gil);
    case Phase::kWrapped: return do_read(gil);
    case Phase::kFlushing: return do_flush(gil);
    case Phase::kShutdown: return do_shutdown(gil);
    case Phase::kUnwrapped: return true;
  }
  return true;
}

bool Tls::may_read(bool& more) {
  std::size_t left = 0;
  if (!plain_left_ && !pending(incoming_, left)) return false;
  more = plain_left_ || records_.has_whole(left);
  return true;
}

bool Tls::do_read(const Gil& gil) {
  if (phase_ != Phase::kWrapped && phase_ != Phase::kFlushing) return true;
  return read_and_answer(gil) || fatal_if_exception(gil);
}

bool Tls::read_and_answer(const Gil& gil) {
  if (app_reading_paused_) return do_write(gil) && control_reading(gil);  // the end of the handshake may wait to be sent
  ++reading_;
  const bool ok = app_buffered_ ? read_buffered(gil) : read_copied(gil);
  --reading_;
  if (!ok) {
    // What the application wrote before it failed is sent; asyncio would have done so when it was written.
    Ref failure = Ref::steal(compat::take_raised());
    if (transport_ && !process_outgoing(gil)) PyErr_Clear();  // the first failure is the one that counts
    compat::restore_raised(failure.release());
    return false;
  }
  return do_write(gil) && control_reading(gil);
}

/// An object of ssl's own with what is there, `room` bytes at most.
Ref Tls::decrypt(const Gil&, std::size_t room) {
  const Ref size = Ref::steal(PyLong_FromSize_t(room));
  Ref plain = size ? call(decrypt_, size.get()) : Ref();
  if (!plain || !derived_) return plain;
  plain = Ref::steal(PyBytes_FromObject(plain.get()));
  if (!plain || size_of(plain) <= room) return plain;
  PyErr_SetString(PyExc_ValueError, "read() of an SSLObject returned more than it was asked for");
  return {};
}

bool Tls::decrypt_into(const Gil& gil, PyObject* target, std::size_t room, std::size_t& got, bool& ended, bool& dry) {
  got = 0;
  ended = dry = false;
  const Ref size = Ref::steal(PyLong_FromSize_t(room));
  if (!size) return false;
  const Ref count = derived_ ? decrypt(gil, room) : call(decrypt_, size.get(), target);
  if (!count) {
    if (!PyErr_ExceptionMatches(state_.again_errors.get())) return false;
    PyErr_Clear();  // needs more bytes from the peer
    dry = true;
    plain_left_ = false;
    return true;
  }
  if (derived_) {
    const View place(target, PyBUF_WRITABLE);
    if (!place) return false;
    got = size_of(count);
    std::memcpy(place.data(), PyBytes_AS_STRING(count.get()), got);
  } else {
    got = PyLong_AsSize_t(count.get());
    if (got == static_cast<std::size_t>(-1) && PyErr_Occurred()) return false;
  }
  ended = got == 0;
  // What did not fill the room was all of that record.
  plain_left_ = got == room || (derived_ && !ended);
  return true;
}

/// All that is there, as one object; none when there is nothing. Each record is decrypted right into its place.
bool Tls::decrypt_all(const Gil& gil, Ref& plain, bool& ended) {
  ended = false;
  std::size_t left = 0, used = 0;
  if (!pending(incoming_, left)) return false;
  if (!plain_left_ && !records_.has_whole(left)) return true;
  std::size_t room = left + (plain_left_ || left == 0 ? kRecord : 0);
  if (room <= kRecordAndMore) {
    // Most likely one record: ssl makes the object, and it is the application's.
    plain = decrypt(gil, room);
    if (!plain) {
      if (!PyErr_ExceptionMatches(state_.again_errors.get())) return false;
      PyErr_Clear();  // a record without data for us, or part of one
      plain_left_ = false;
      return true;
    }
    used = size_of(plain);
    plain_left_ = used == room || (derived_ && used > 0);
    if (used == 0) {
      ended = true;
      plain = Ref();
      return true;
    }
  } else {
    plain = Ref::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(room)));
    if (!plain) return false;
  }
  for (bool more = true;;) {
    if (!may_read(more)) return false;
    if (!more) break;
    if (size_of(plain) == used) {
      if (!pending(incoming_, left)) return false;
      if (Py_REFCNT(plain.get()) > 1) {  // what a class derived from SSLObject returned may be anybody's
        const Ref theirs = std::move(plain);
        plain = Ref::steal(PyBytes_FromStringAndSize(PyBytes_AS_STRING(theirs.get()), static_cast<Py_ssize_t>(used)));
        if (!plain) return false;
      }
      if (!resize(plain, used + left + kRecord)) return false;
    }
    const std::size_t free = size_of(plain) - used;
    const Ref target = memory(PyBytes_AS_STRING(plain.get()) + used, free, PyBUF_WRITE);
    std::size_t got;
    bool dry;
    if (!target || !decrypt_into(gil, target.get(), free, got, ended, dry)) return false;
    used += got;
    if (ended || dry) break;
  }
  if (used == 0) {
    plain = Ref();
    return true;
  }
  return size_of(plain) == used || resize(plain, used);
}

bool Tls::read_copied(const Gil& gil) {
  Ref plain;
  bool ended;
  if (!decrypt_all(gil, plain, ended)) return false;
  if (plain && app_protocol_ && !tell_app(gil, state_.s_data_received, plain.get())) return false;
  return !ended || (tell_eof(gil) && start_shutdown(gil));
}

bool Tls::read_buffered(const Gil& gil) {
  bool more, ended = false, dry = false;
  std::size_t left, used = 0;
  if (!may_read(more)) return false;
  if (!more || !app_protocol_) return true;
  if (!pending(incoming_, left)) return false;
  const Ref hint = Ref::steal(PyLong_FromSize_t(left));
  if (!hint) return false;
  bool full = false;
  const Ref app = Ref::share(gil, app_protocol_.get());  // who lends its buffer is told of it, whoever is the protocol then
  {
    const Ref buffer = tell(gil, app, state_.s_get_buffer, hint.get());
    if (!buffer) return false;
    const View view(buffer.get(), PyBUF_WRITABLE);
    if (!view) return false;
    if (view.size() == 0) {
      PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
      return false;
    }
    while (more && !ended && !dry && used < view.size()) {
      const Ref rest = used == 0 ? Ref::share(gil, buffer.get()) : memory(view.data() + used, view.size() - used, PyBUF_WRITE);
      std::size_t got;
      if (!rest || !decrypt_into(gil, rest.get(), view.size() - used, got, ended, dry) || !may_read(more)) return false;
      used += got;
    }
    full = used == view.size();
  }
  if (full && more && !eof_ && !loop().soon(gil, read_chore, self())) return false;
  if (used > 0 && app_protocol_) {
    const Ref size = Ref::steal(PyLong_FromSize_t(used));
    if (!size || !tell(gil, app, state_.s_buffer_updated, size.get())) return false;
  }
  read_on_ = full && more && eof_;
  return !ended || (tell_eof(gil) && start_shutdown(gil));
}

// Written ---------------------------------------------------------------------------------------------------------------

bool Tls::takes_writes(const Gil&) {
  if (phase_ == Phase::kHandshake || phase_ == Phase::kWrapped) return true;
  constexpr unsigned kTolerated = 5;  // asyncio's LOG_THRESHOLD_FOR_CONNLOST_WRITES
  if (lost_writes_++ >= kTolerated && !Ref::steal(PyObject_CallMethod(state_.support.get(), "warn_closed", nullptr))) PyErr_Clear();
  return false;
}

bool Tls::measure(PyObject* data, std::size_t& size) {
  if (PyBytes_CheckExact(data)) {
    size = static_cast<std::size_t>(PyBytes_GET_SIZE(data));
    return true;
  }
  const View view(data, PyBUF_SIMPLE);
  if (view) size = view.size();
  return static_cast<bool>(view);
}

bool Tls::hold(const Gil& gil, PyObject* data) {
  std::size_t size;
  if (!measure(data, size)) return false;
  if (size > 0) hold(Piece{Ref::share(gil, data), size, 0});
  return true;
}

void Tls::hold(Piece piece) {
  held_size_ += piece.size;
  held_.push_back(std::move(piece));
}

bool Tls::write(const Gil& gil, PyObject* data) { return check_thread(gil) && (!takes_writes(gil) || (hold(gil, data) && push(gil))); }

bool Tls::write_all(const Gil& gil, PyObject* list) {
  if (!check_thread(gil)) return false;
  if (!takes_writes(gil)) return true;
  const Ref each = Ref::steal(PyObject_GetIter(list));
  if (!each) return false;
  std::vector<Piece> all;  // or nothing: a piece that is none, or an iterable that fails, leaves no part of the message behind
  while (Ref item = Ref::steal(PyIter_Next(each.get()))) {
    // What makes the next item may change this one.
    Ref copy = PyByteArray_Check(item.get()) ? Ref::steal(PyBytes_FromObject(item.get())) : Ref::share(gil, item.get());
    std::size_t size;
    if (!copy || !measure(copy.get(), size)) return false;
    if (size > 0) all.push_back({std::move(copy), size, 0});
  }
  if (PyErr_Occurred()) return false;
  for (Piece& piece : all) hold(std::move(piece));
  return push(gil);
}

bool Tls::push(const Gil& gil) {
  if (phase_ != Phase::kWrapped) return keep_copies(gil);
  return (encrypt_held(gil) && keep_copies(gil) && flush_later(gil)) || fatal_if_exception(gil);
}

/// Whoever gave us something that can change may change it when write() has returned.
bool Tls::keep_copies(const Gil&) {
  for (Piece& piece : held_) {
    if (PyBytes_CheckExact(piece.data.get())) continue;
    Ref copy = Ref::steal(PyBytes_FromObject(piece.data.get()));
    if (!copy) return false;
    piece.data = std::move(copy);
  }
  return true;
}

bool Tls::do_write(const Gil& gil) { return encrypt_held(gil) && process_outgoing(gil); }

bool Tls::encrypt_held(const Gil& gil) {
  std::size_t unsent = 0;
  while (!held_.empty()) {
    std::size_t taken;
    bool stuck;
    if (!merge_small(gil) || !encrypt_piece(gil, taken, stuck)) return false;
    if (stuck || held_.empty()) break;
    Piece& piece = held_.front();
    piece.offset += taken;
    held_size_ -= taken;
    if (piece.left() == 0) {
      const Ref done = std::move(piece.data);
      held_.pop_front();
    }
    if ((unsent += taken) < kSendAt || held_.empty()) continue;
    unsent = 0;
    bool gone;
    if (below_paused_) continue;
    if (!process_outgoing(gil) || !is_below_closing(gil, gone)) return false;
    if (gone) drop_held();  // nobody would get the rest
  }
  return true;
}

bool Tls::is_below_closing(const Gil& gil, bool& closing) {
  const Ref transport = Ref::share(gil, transport_.get());
  const Ref answer = transport ? call_method(transport.get(), state_.s_is_closing) : Ref();
  const int truth = answer ? PyObject_IsTrue(answer.get()) : -1;
  closing = truth > 0;
  return truth >= 0 || !transport;
}

void Tls::drop_held() {
  const auto dropped = std::exchange(held_, {});
  held_size_ = 0;
}

/// As much as is sent at once. Stuck: ssl needs bytes of the peer first (a renegotiation).
bool Tls::encrypt_piece(const Gil& gil, std::size_t& taken, bool& stuck) {
  const Ref data = Ref::share(gil, held_.front().data.get());
  const std::size_t offset = held_.front().offset;
  taken = 0;
  stuck = false;
  Ref count;
  if (offset == 0 && held_.front().size <= kSendAt) {
    count = call(encrypt_, data.get());
  } else {
    const View view(data.get(), PyBUF_SIMPLE);
    if (!is_still(view, held_.front().size)) return false;
    const std::size_t size = std::min(view.size() - offset, kSendAt);
    char* at = view.data() + offset;
    const Ref rest = derived_ ? Ref::steal(PyBytes_FromStringAndSize(at, static_cast<Py_ssize_t>(size))) : memory(at, size, PyBUF_READ);
    if (!rest) return false;
    count = call(encrypt_, rest.get());
  }
  if (!count) {
    if (!PyErr_ExceptionMatches(state_.again_errors.get())) return false;
    PyErr_Clear();  // said by `stuck`
    stuck = true;
    return true;
  }
  taken = PyLong_AsSize_t(count.get());
  if (taken == static_cast<std::size_t>(-1) && PyErr_Occurred()) return false;
  if (!held_.empty()) taken = std::min(taken, held_.front().left());
  return true;
}

/// Small pieces one after the other become one, up to a record. A retry after `stuck` begins with the same bytes, as OpenSSL wants it.
bool Tls::merge_small(const Gil&) {
  std::size_t count = 0, total = 0;
  while (count < held_.size() && total + held_[count].left() <= kRecord) total += held_[count++].left();
  if (count < 2) return true;
  Ref merged = Ref::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(total)));
  if (!merged) return false;
  char* at = PyBytes_AS_STRING(merged.get());
  for (std::size_t i = 0; i < count; ++i) {
    const View view(held_[i].data.get(), PyBUF_SIMPLE);
    if (!is_still(view, held_[i].size)) return false;
    std::memcpy(at, view.data() + held_[i].offset, held_[i].left());
    at += held_[i].left();
  }
  std::deque<Piece> replaced;
  for (; count > 0; --count) {
    replaced.push_back(std::move(held_.front()));
    held_.pop_front();
  }
  held_.push_front({std::move(merged), total, 0});
  return true;
}

bool Tls::flush_later(const Gil& gil) {
  if (below_paused_) return process_outgoing(gil);
  if (reading_ > 0 || flush_queued_) {
    // read_and_answer() or the chore sends it, together with what comes until then, unless that becomes much.
    std::size_t unsent;
    return pending(outgoing_, unsent) && (unsent < (reading_ > 0 ? kSendAt : kFlushAt) || process_outgoing(gil));
  }
  std::size_t unsent;
  if (!pending(outgoing_, unsent)) return false;
  if (unsent >= kFlushAt || !loop().in_turn()) return process_outgoing(gil);
  flush_queued_ = loop().at_end_of_turn(gil, flush_chore, self());
  return flush_queued_;
}

bool Tls::process_outgoing(const Gil& gil) {
  if (!below_paused_ && transport_) {
    const Ref data = Ref::steal(PyObject_CallNoArgs(take_out_.get()));
    if (!data) return false;
    const Ref transport = Ref::share(gil, transport_.get());
    if (size_of(data) > 0 && !call_method(transport.get(), state_.s_write, data.get())) return false;
  }
  return control_app_writing(gil);
}

bool Tls::resume_writing(const Gil& gil) {
  below_paused_ = false;
  return process_outgoing(gil);
}

// Who pauses ------------------------------------------------------------------------------------------------------------

bool Tls::write_size(const Gil& gil, std::size_t& size) {
  // The answer is what asyncio's would be, who does not wait for the end of the turn.
  if (flush_queued_ && reading_ == 0 && !process_outgoing(gil) && !fatal_if_exception(gil)) return false;
  if (!pending(outgoing_, size)) return false;
  size += held_size_;
  return true;
}

bool Tls::control_app_writing(const Gil& gil) {
  std::size_t size;
  if (!pending(outgoing_, size)) return false;
  size += held_size_;
  const bool pause = size > write_marks_.high && !app_writing_paused_;
  if (!pause && !(size <= write_marks_.low && app_writing_paused_)) return true;
  app_writing_paused_ = pause;
  if (!app_protocol_ || tell_app(gil, pause ? state_.s_pause_writing : state_.s_resume_writing)) return true;
  if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit)) return false;
  const Ref failure = Ref::steal(compat::take_raised());
  const Ref more = Ref::steal(Py_BuildValue("{sOsO}", "transport", app_transport_ ? app_transport_.get() : Py_None, "protocol", self()));
  return loop().report(gil, pause ? "protocol.pause_writing() failed" : "protocol.resume_writing() failed", failure.get(), more.get());
}

bool Tls::control_reading(const Gil& gil) {
  std::size_t size;
  if (!pending(incoming_, size)) return false;
  // Part of a record is no reason to stop: the application cannot read it, and nothing would resume before the rest is here.
  if (!plain_left_ && !records_.has_whole(size)) size = 0;
  const bool stop = size > 0 && size >= read_marks_.high && !reading_stopped_;
  if (!stop && !(size <= read_marks_.low && reading_stopped_)) return true;
  reading_stopped_ = stop;
  if (!transport_) return true;
  const Ref transport = Ref::share(gil, transport_.get());
  return static_cast<bool>(call_method(transport.get(), stop ? state_.s_pause_reading : state_.s_resume_reading));
}

bool Tls::set_write_marks(const Gil& gil, WaterMarks marks) {
  write_marks_ = marks;
  return control_app_writing(gil);
}

bool Tls::set_read_marks(const Gil& gil, WaterMarks marks) {
  read_marks_ = marks;
  return control_reading(gil);
}

bool Tls::pause_reading(const Gil& gil) {
  if (!check_thread(gil)) return false;
  app_reading_paused_ = true;
  return true;
}

bool Tls::resume_reading(const Gil& gil) {
  if (!check_thread(gil)) return false;
  if (!app_reading_paused_) return true;
  app_reading_paused_ = false;
  return loop().soon(gil, resume_chore, self());
}

// In line with the loop's callbacks -------------------------------------------------------------------------------------

bool Tls::settle_chore(const Gil& gil, bool ok) {
  if (ok) return true;
  if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit)) return false;
  const Ref failure = Ref::steal(compat::take_raised());
  const Ref more = Ref::steal(Py_BuildValue("{sOsO}", "transport", transport_ ? transport_.get() : Py_None, "protocol", self()));
  return loop().report(gil, "Exception in callback of the TLS protocol", failure.get(), more.get());
}

bool Tls::read_chore(const Gil& gil, PyObject* owner) {
  Tls& tls = tls_of(owner);
  return tls.settle_chore(gil, tls.do_read(gil));
}

bool Tls::resume_chore(const Gil& gil, PyObject* owner) {
  Tls& tls = tls_of(owner);
  if (tls.phase_ == Phase::kHandshake) return true;
  return tls.settle_chore(gil, tls.received(gil));
}

bool Tls::flush_chore(const Gil& gil, PyObject* owner) {
  Tls& tls = tls_of(owner);
  tls.flush_queued_ = false;
  if (!tls.transport_) return true;
  return tls.settle_chore(gil, tls.process_outgoing(gil) || tls.fatal_if_exception(gil));
}

bool Tls::close_chore(const Gil& gil, PyObject* owner) {
  Tls& tls = tls_of(owner);
  if (!tls.transport_) return true;
  const Ref transport = Ref::share(gil, tls.transport_.get());
  return tls.settle_chore(gil, static_cast<bool>(call_method(transport.get(), tls.state_.s_close)));
}

}  // namespace pyw::aio
