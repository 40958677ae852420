#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <deque>
#include <utility>

#include "python/ref.hpp"

namespace pyw::aio {

/// What has been given to a transport and has not left yet. bytes, and memoryviews of them, are kept as they are until they have been written. All else
/// is copied, for its owner may well go on using it.
/// GIL: needed by everything here. Threads: not synchronised.
class WriteQueue {
 public:
  WriteQueue() = default;
  ~WriteQueue() { clear(); }
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  bool empty() const { return chunks_.empty(); }
  /// Bytes that wait.
  std::size_t size() const { return size_; }

  /// `data` without its first `skip` bytes. False: an exception is pending (no buffer, not contiguous).
  bool push(const Gil& gil, PyObject* data, std::size_t skip) {
    Chunk chunk{};
    // A memoryview can be released by its owner only while it lends its buffer to nobody, so another one does.
    const Ref lender = PyMemoryView_Check(data) ? Ref::steal(PyMemoryView_FromObject(data)) : Ref::share(gil, data);
    if (!lender || PyObject_GetBuffer(lender.get(), &chunk.view, PyBUF_SIMPLE) != 0) return false;
    if (static_cast<std::size_t>(chunk.view.len) == skip) {
      PyBuffer_Release(&chunk.view);
      return true;
    }
    chunk.offset = skip;
    if (!stays_as_it_is(data) && !copy(chunk)) return false;
    size_ += static_cast<std::size_t>(chunk.view.len) - chunk.offset;
    chunks_.push_back(chunk);
    return true;
  }

  /// All of a list or tuple, or nothing: then an exception is pending.
  bool push_all(const Gil& gil, PyObject* lines) {
    WriteQueue more;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(lines); ++i)
      if (!more.push(gil, PySequence_Fast_GET_ITEM(lines, i), 0)) return false;
    size_ += std::exchange(more.size_, 0);
    for (const Chunk& chunk : std::exchange(more.chunks_, {})) chunks_.push_back(chunk);
    return true;
  }

  /// What is next, as many pieces as fit; how many there are.
  static constexpr std::size_t kPieces = 64;
  int pieces(std::array<iovec, kPieces>& to) const {
    std::size_t n = 0;
    for (const Chunk& chunk : chunks_) {
      if (n == kPieces) break;
      to[n++] = {static_cast<char*>(chunk.view.buf) + chunk.offset, static_cast<std::size_t>(chunk.view.len) - chunk.offset};
    }
    return static_cast<int>(n);
  }

  /// So many bytes of what pieces() gave have left. Releasing what has left may run its owner's code, which may push, or clear everything.
  void drop(std::size_t bytes) {
    size_ -= bytes;
    std::array<Py_buffer, kPieces> gone;
    std::size_t count = 0;
    while (bytes > 0) {
      Chunk& chunk = chunks_.front();
      const std::size_t left = static_cast<std::size_t>(chunk.view.len) - chunk.offset;
      if (bytes < left) {
        chunk.offset += bytes;
        break;
      }
      bytes -= left;
      gone[count++] = chunk.view;
      chunks_.pop_front();
    }
    for (std::size_t i = 0; i < count; ++i) PyBuffer_Release(&gone[i]);
  }

  void clear() {
    size_ = 0;
    auto gone = std::exchange(chunks_, {});
    for (Chunk& chunk : gone) PyBuffer_Release(&chunk.view);
  }

  int traverse(visitproc visit, void* arg) const {
    for (const Chunk& chunk : chunks_)
      if (const int stop = chunk.view.obj ? visit(chunk.view.obj, arg) : 0) return stop;
    return 0;
  }

 private:
  struct Chunk {
    Py_buffer view;
    std::size_t offset;
  };

  static bool stays_as_it_is(PyObject* data) {
    PyObject* owner = PyMemoryView_Check(data) ? PyMemoryView_GET_BASE(data) : data;
    return owner && PyBytes_Check(owner);
  }

  /// Of what is left of it. False: an exception is pending, and the chunk is gone.
  static bool copy(Chunk& chunk) {
    const Ref left = Ref::steal(
        PyBytes_FromStringAndSize(static_cast<const char*>(chunk.view.buf) + chunk.offset, chunk.view.len - static_cast<Py_ssize_t>(chunk.offset)));
    PyBuffer_Release(&chunk.view);
    chunk = Chunk{};
    return left && PyObject_GetBuffer(left.get(), &chunk.view, PyBUF_SIMPLE) == 0;
  }

  std::deque<Chunk> chunks_;
  std::size_t size_ = 0;
};

}  // namespace pyw::aio
