#include "python/fork.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "python/interpreter.hpp"
#include "python/ref.hpp"

namespace pyw {
namespace {

// Globals because pthread_atfork hands its functions nothing. Written before the first fork, or in the child's only thread.
int guarded_loop_fd = -1;
bool forked = false;

/// Runs in the child of fork(): async-signal-safe calls only.
void in_child() {
  forked = true;
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : std::array{3, 4, 5, 6, 7}) {
    // Not just closed: the number would be given to the child's next file, and whatever still knows it would write there.
    if (null >= 0)
      ::dup3(null, fd, O_CLOEXEC);
    else
      ::close(fd);
  }
  if (null > 7) ::close(null);
  if (guarded_loop_fd >= 0) ::close(guarded_loop_fd);
}

int exit_status() {
  if (!PyErr_Occurred()) return 0;
  if (!PyErr_ExceptionMatches(PyExc_SystemExit)) {
    PyErr_Print();
    return 1;
  }
  const Ref exception = Ref::steal(compat::take_raised());
  const Ref code = Ref::steal(PyObject_GetAttrString(exception.get(), "code"));
  if (!code || code.get() == Py_None) return 0;
  if (PyLong_Check(code.get())) return static_cast<int>(PyLong_AsLong(code.get()) & 0xff);
  PyObject* err = PySys_GetObject("stderr");  // borrowed
  if (err && err != Py_None && PyFile_WriteObject(code.get(), err, Py_PRINT_RAW) != 0) PyErr_Clear();
  return 1;
}

}  // namespace

void install_fork_guard(int loop_fd) {
  guarded_loop_fd = loop_fd;
  ::pthread_atfork(nullptr, nullptr, in_child);
}

bool in_forked_child() { return forked; }

void end_forked_child(const Gil& gil) {
  const int status = exit_status();
  flush_streams(gil);  // nobody is left to tell that it failed
  std::fflush(nullptr);
  ::_exit(status);
}

}  // namespace pyw
