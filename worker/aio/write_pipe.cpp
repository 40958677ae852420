#include "aio/write_pipe.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "aio/raised.hpp"
#include "aio/receive_bytes.hpp"

namespace pyw::aio {
namespace {

/// From the fifth write to a pipe that is closed on, each is logged.
constexpr int kLoggedLostWrites = 5;

bool is_data(PyObject* object) {
  if (PyBytes_Check(object) || PyByteArray_Check(object) || PyMemoryView_Check(object)) return true;
  PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%s'", Py_TYPE(object)->tp_name);
  return false;
}

}  // namespace

bool WritePipe::ready(const Gil& gil, int events) {
  if (events & Watcher::kHangUp) {
    if (queue_.empty()) return force_close(gil, Py_None);
    const Ref broken = Ref::steal(PyObject_CallNoArgs(PyExc_BrokenPipeError));
    return force_close(gil, broken ? broken.get() : Py_None);
  }
  if (blocked_) return flush(gil);
  watches_room_ = false;
  return watch(gil);
}

void WritePipe::block() {
  blocked_ = watches_room_ = true;
  was_full();
}

bool WritePipe::is_news(const Gil&, PyObject* exception) const {
  return !PyObject_TypeCheck(exception, reinterpret_cast<PyTypeObject*>(PyExc_OSError));
}

/// False: an exception is pending, or, with none, the data is to be dropped.
bool WritePipe::may_write(const Gil& gil, PyObject* data) {
  if (!is_data(data) || !loop().check_thread(gil)) return false;
  if (!lost() && !closing_) return true;
  if (PyObject_Length(data) <= 0) return false;
  if (lost_count_ >= kLoggedLostWrites && !Ref::steal(PyObject_CallMethod(state().helpers.get(), "writing_was_too_late", nullptr))) return false;
  if (lost()) ++lost_count_;
  return false;
}

/// False: an exception is pending; or none, and the pipe has broken.
bool WritePipe::write_now(const Gil& gil, PyObject* data, std::size_t& sent) {
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return false;
  const auto size = static_cast<std::size_t>(view.len);
  const ssize_t n = size == 0 ? 0 : ::write(fd(), view.buf, size);
  const int error = errno;
  PyBuffer_Release(&view);
  if (n < 0 && !would_block(error)) {
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    (void)fatal_pending(gil, "Fatal write error on pipe transport");  // false only with an exception pending
    return false;
  }
  sent = n < 0 ? 0 : static_cast<std::size_t>(n);
  if (sent < size)
    block();
  else if (size != 0)
    wrote_in_turn_ = loop().turns();
  return true;
}

bool WritePipe::write(const Gil& gil, PyObject* data) {
  if (!may_write(gil, data)) return !PyErr_Occurred();
  std::size_t sent = 0;
  const bool now = queue_.empty() && (wrote_in_turn_ != loop().turns() || !loop().in_turn());
  if (now && !write_now(gil, data, sent)) return !PyErr_Occurred();
  return (now && !blocked_) || (queue_.push(gil, data, sent) && has_queued(gil));
}

bool WritePipe::write_lines(const Gil& gil, PyObject* lines) {
  const Ref all = Ref::steal(PySequence_Fast(lines, "writelines() needs an iterable of bytes-like objects"));
  if (!all) return false;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(all.get()); ++i)
    if (!is_data(PySequence_Fast_GET_ITEM(all.get(), i))) return false;
  if (!loop().check_thread(gil)) return false;
  if (!lost() && !closing_) return queue_.push_all(gil, all.get()) && has_queued(gil);
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(all.get()); ++i)
    if (!may_write(gil, PySequence_Fast_GET_ITEM(all.get(), i)) && PyErr_Occurred()) return false;
  return true;
}

/// Something may have been queued that is to leave when it can.
bool WritePipe::has_queued(const Gil& gil) {
  if (queue_.empty() || lost()) return true;
  if (!blocked_ && !loop().in_turn()) {
    if (!flush(gil)) return false;
  } else if (!blocked_ && !flush_queued_) {
    if (!loop().at_end_of_turn(gil, flush_collected, self())) return false;
    flush_queued_ = true;
  }
  return watch(gil) && (queue_.size() <= marks_.high || tell(gil, true));
}

/// What was written after the first write of the turn.
bool WritePipe::flush_collected(const Gil& gil, PyObject* owner) {
  auto& pipe = static_cast<WritePipe&>(pipe_end_in(owner));
  pipe.flush_queued_ = false;
  return !pipe.has_collected() || pipe.flush(gil);
}

/// Writes what the pipe takes. False: an exception that ends the run.
bool WritePipe::flush(const Gil& gil) {
  while (!queue_.empty()) {
    std::array<iovec, WriteQueue::kPieces> pieces;
    const int count = queue_.pieces(pieces);
    const ssize_t n = ::writev(fd(), pieces.data(), count);
    if (n < 0) {
      if (would_block(errno)) break;
      PyErr_SetFromErrno(PyExc_OSError);
      return fatal_pending(gil, "Fatal write error on pipe transport");
    }
    const bool all_offered = count < static_cast<int>(WriteQueue::kPieces);
    const std::size_t all = queue_.size();
    queue_.drop(static_cast<std::size_t>(n));
    if (all_offered && static_cast<std::size_t>(n) < all) break;
  }
  blocked_ = false;
  if (!queue_.empty()) block();
  if (protocol_paused_ && queue_.size() <= marks_.low && !tell(gil, false)) return false;  // which may write more
  if (queue_.empty() && closing_ && !lost()) return lose(gil, Py_None);
  return watch(gil);
}

/// pause_writing or resume_writing. What the protocol raises is reported, and the connection goes on.
bool WritePipe::tell(const Gil& gil, bool pause) {
  if (protocol_paused_ == pause || !protocol()) return true;
  protocol_paused_ = pause;
  // To pause it is told by who writes, in whose context that is.
  const Ref told = Ref::share(gil, protocol());
  return (pause ? Ref::steal(PyObject_CallMethodNoArgs(told.get(), state().s_pause_writing.get())) : call(gil, state().s_resume_writing)) ||
         survives(gil, pause ? "protocol.pause_writing() failed" : "protocol.resume_writing() failed");
}

bool WritePipe::set_marks(const Gil& gil, WaterMarks marks) {
  marks_ = marks;
  return queue_.size() <= marks_.high || tell(gil, true);
}

bool WritePipe::close(const Gil& gil) {
  if (closing_) return true;
  if (!loop().check_thread(gil)) return false;
  closing_ = true;
  return queue_.empty() ? lose(gil, Py_None) : watch(gil);
}

bool WritePipe::force_close(const Gil& gil, PyObject* exception) {
  if (lost()) return true;
  blocked_ = watches_room_ = false;
  const bool ok = PipeEnd::force_close(gil, exception);
  queue_.clear();  // which may run code of those who own what was queued
  return ok;
}

bool WritePipe::abort(const Gil& gil) {
  return loop().check_thread(gil) && (!has_collected() || flush(gil)) && force_close(gil, Py_None);
}

int WritePipe::traverse(visitproc visit, void* arg) const {
  if (const int stop = PipeEnd::traverse(visit, arg)) return stop;
  return queue_.traverse(visit, arg);
}

}  // namespace pyw::aio
