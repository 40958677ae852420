#pragma once

#include <sys/types.h>

#include <cerrno>

#include "aio/state.hpp"

namespace pyw::aio {

/// The buffer of the asyncio.StreamReader that all data of a protocol goes to, for one read right into it: much data for asyncio's streams is otherwise
/// copied twice on its way there.
///
/// Which protocols those are, and what there is to do besides, erlang/_stream_readers.py knows. Threads: the loop's. GIL: held.
class ReaderBuffer {
 public:
  /// What the last read brought, from which on it is worth to ask.
  static constexpr std::size_t kMuch = 32u << 10;

  /// Makes room for so many bytes more. False, then, for a protocol that wants to see its data, for a buffer that cannot grow, and with an exception
  /// pending that ends the run.
  ReaderBuffer(const Gil& gil, const State& state, PyObject* protocol, std::size_t room);
  explicit operator bool() const { return static_cast<bool>(buffer_); }

  /// One read, to the end of what is there: `read(to, room)` is the system call, `n` and errno what it said. The reader's coroutine is woken and its
  /// flow control is kept. False: what that raised is pending. Call it once, for the room is gone then.
  template <class Read>
  bool receive(const Gil& gil, ssize_t& n, Read read) {
    n = read(PyByteArray_AS_STRING(buffer_.get()) + before_, room_);
    const int error = errno;
    const bool cut = PyByteArray_Resize(buffer_.get(), before_ + (n > 0 ? n : 0)) == 0;
    errno = error;
    return cut && (n <= 0 || fed(gil));
  }

 private:
  bool find(const State& state, PyObject* protocol);
  bool fed(const Gil& gil);

  const State& state_;
  const std::size_t room_;
  Py_ssize_t before_ = 0;  ///< how much was there
  Ref reader_, buffer_;
};

}  // namespace pyw::aio
