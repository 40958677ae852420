#include "aio/read_pipe.hpp"

#include <unistd.h>

#include <cerrno>

#include "aio/reader_buffer.hpp"
#include "aio/receive_bytes.hpp"

namespace pyw::aio {
namespace {

constexpr const char* kDataReceivedFailed = "protocol.data_received() failed";

}  // namespace

/// One read. A fair share for each connection: what is left is read in the next turn.
Ref ReadPipe::received(const Gil& gil, ssize_t& n) {
  return receive_bytes(gil, loop(), last_read_, kLarger, n, [this](char* to, std::size_t room) { return ::read(fd(), to, room); });
}

bool ReadPipe::ready(const Gil& gil, int) {
  if (!is_reading()) return true;
  if (last_read_ >= ReaderBuffer::kMuch) {
    ReaderBuffer buffer(gil, state(), protocol(), kLarger);
    if (buffer) return read_into_reader(gil, buffer);
    if (PyErr_Occurred()) return false;
  }
  ssize_t n = -1;
  errno = 0;
  const Ref data = received(gil, n);
  if (n >= static_cast<ssize_t>(kPipeSize)) was_full();
  if (data) [[likely]] return call(gil, state().s_data_received, data.get()) || survives(gil, kDataReceivedFailed);
  return read_nothing(gil, n);
}

bool ReadPipe::read_into_reader(const Gil& gil, ReaderBuffer& buffer) {
  ssize_t n = -1;
  errno = 0;
  const bool done = buffer.receive(gil, n, [this](char* to, std::size_t room) { return ::read(fd(), to, room); });
  if (n <= 0) return read_nothing(gil, n);
  last_read_ = static_cast<std::size_t>(n);
  if (last_read_ >= kPipeSize) was_full();
  return done || survives(gil, kDataReceivedFailed);
}

/// The end, nothing yet, or a failure: what errno says, or the exception that is pending.
bool ReadPipe::read_nothing(const Gil& gil, ssize_t n) {
  if (!PyErr_Occurred()) {
    if (n == 0) return end_of_data(gil);
    if (would_block(errno)) return true;
    PyErr_SetFromErrno(PyExc_OSError);
  }
  return fatal_pending(gil, "Fatal read error on pipe transport");
}

bool ReadPipe::end_of_data(const Gil& gil) {
  closing_ = true;
  if (!lose(gil, Py_None)) return false;
  return call(gil, state().s_eof_received) || survives(gil, "protocol.eof_received() failed");
}

bool ReadPipe::is_always_ready(const Gil& gil) {
  if (read_queued_) return true;
  read_queued_ = true;
  return loop().soon(gil, read_without_watching, self());
}

bool ReadPipe::read_without_watching(const Gil& gil, PyObject* owner) {
  auto& pipe = static_cast<ReadPipe&>(pipe_end_in(owner));
  pipe.read_queued_ = false;
  if (pipe.lost() || !pipe.is_reading()) return true;
  return pipe.ready(gil, Watcher::kReadable) && pipe.watch(gil);  // which queues the next one
}

bool ReadPipe::is_news(const Gil&, PyObject* exception) const {
  if (!PyObject_TypeCheck(exception, reinterpret_cast<PyTypeObject*>(PyExc_OSError))) return true;
  const Ref number = Ref::steal(PyObject_GetAttrString(exception, "errno"));
  if (number && PyLong_Check(number.get()) && PyLong_AsLong(number.get()) == EIO) return false;
  PyErr_Clear();  // no number: it is none of the system's
  return true;
}

bool ReadPipe::pause(const Gil& gil) {
  if (!loop().check_thread(gil)) return false;
  if (!is_reading()) return true;
  paused_ = true;
  return watch(gil);
}

bool ReadPipe::resume(const Gil& gil) {
  if (!loop().check_thread(gil)) return false;
  if (closing_ || !paused_) return true;
  paused_ = false;
  return watch(gil);
}

}  // namespace pyw::aio
