#pragma once

#include "aio/loop.hpp"

namespace pyw::aio {

/// The callbacks that Python code has for one descriptor (add_reader, add_writer).
/// Threads: the loop's. GIL: held.
class FdWatch {
 public:
  FdWatch(Loop& loop, int fd) : loop_(loop), fd_(fd), watcher_(loop.reactor(), this, told) {}
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  /// Takes the handle; the one that was there is cancelled. False: OSError is pending.
  /// `of` is what the descriptor was given as.
  bool add(const Gil& gil, int event, HandleObject* handle, PyObject* of);
  /// Whether it was given as this object, and not as a number.
  bool is_of(PyObject* object) const { return given_.get() == object; }
  /// Cancels it. False: there was none.
  bool remove(const Gil& gil, int event);
  bool idle() const { return !reader_ && !writer_; }
  int traverse(visitproc visit, void* arg) const;

 private:
  static bool told(void* owner, int events);
  HandleObject*& of(int event) { return event == Watcher::kReadable ? reader_ : writer_; }
  static void drop(HandleObject* handle);

  Loop& loop_;
  const int fd_;
  HandleObject* reader_ = nullptr;
  HandleObject* writer_ = nullptr;
  Ref given_;
  Watcher watcher_;
};

}  // namespace pyw::aio
