#pragma once

#include <sys/types.h>

#include <cerrno>

#include "aio/loop.hpp"

namespace pyw::aio {

inline bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/// One read of at most Loop::kScratch bytes, as a bytes object; of at most `large` after a large one. `read(to, room)` is the system call, `n` what it
/// said, `last` how much the last read of that descriptor brought. Empty: n and errno say why; or n is positive and MemoryError is pending.
///
/// After a large read the next goes right into the bytes object that the protocol gets; smaller ones are copied out of the loop's scratch, which the
/// cache has: an object that must be shrunk by more than a quarter costs more than the copy where what comes is copied again, as in streams.
template <class Read>
Ref receive_bytes(const Gil&, Loop& loop, std::size_t& last, std::size_t large, ssize_t& n, Read read) {
  constexpr std::size_t kLargeRead = 192u << 10;
  if (last < kLargeRead) {
    n = read(loop.scratch(), Loop::kScratch);
    if (n <= 0) return {};
    last = static_cast<std::size_t>(n);
    return Ref::steal(PyBytes_FromStringAndSize(loop.scratch(), n));
  }
  PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(large));
  if (!bytes) return {};
  n = read(PyBytes_AS_STRING(bytes), large);
  if (n <= 0) {
    const int error = errno;
    Py_DECREF(bytes);
    errno = error;
    return {};
  }
  last = static_cast<std::size_t>(n);
  if (last != large && _PyBytes_Resize(&bytes, n) != 0) return {};
  return Ref::steal(bytes);
}

}  // namespace pyw::aio
