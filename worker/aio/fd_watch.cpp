#include "aio/fd_watch.hpp"

#include <cerrno>

namespace pyw::aio {

FdWatch::~FdWatch() {
  watcher_.close();
  drop(reader_);
  drop(writer_);
}

void FdWatch::drop(HandleObject* handle) {
  if (!handle) return;
  handle->cancelled = true;
  handle->clear();
  Py_DECREF(handle);
}

bool FdWatch::add(const Gil& gil, int event, HandleObject* handle, PyObject* of_what) {
  handle->repeats = true;
  PyObject* const given = PyLong_Check(of_what) ? nullptr : of_what;
  const int events = watcher_.events() | event;
  // As another object: the first may have been closed, and this be the next that has its number, of which the system knows nothing yet.
  if (given != given_.get()) (void)watcher_.watch(fd_, 0).ok();
  if (auto watched = watcher_.watch(fd_, events); !watched) {
    PyErr_SetFromErrno(PyExc_OSError);
    drop(handle);
    return false;
  }
  const Ref before = std::exchange(given_, Ref::share(gil, given));
  drop(std::exchange(of(event), handle));
  return true;
}

bool FdWatch::remove(const Gil&, int event) {
  if (!of(event)) return false;
  (void)watcher_.watch(fd_, watcher_.events() & ~event).ok();  // less than before: nothing that could fail
  drop(std::exchange(of(event), nullptr));
  return true;
}

bool FdWatch::told(void* owner, int events) {
  const GilHeld gil;
  auto* self = static_cast<FdWatch*>(owner);
  // Run here and not queued: if the reactor were asked again before they have read, they would be told twice of the same bytes.
  HandleObject* const told[] = {events & Watcher::kReadable ? self->reader_ : nullptr, events & Watcher::kWritable ? self->writer_ : nullptr};
  for (HandleObject* handle : told) Py_XINCREF(handle);  // they may end us
  bool goes_on = true;
  for (HandleObject* handle : told) {
    goes_on = goes_on && (!handle || run_handle(gil, handle));
    Py_XDECREF(handle);
  }
  return goes_on;
}

int FdWatch::traverse(visitproc visit, void* arg) const {
  if (const int stop = given_.traverse(visit, arg)) return stop;
  for (HandleObject* handle : {reader_, writer_}) {
    if (!handle) continue;
    if (const int stop = visit_held(handle, visit, arg)) return stop;
  }
  return 0;
}

}  // namespace pyw::aio
