#pragma once

#include <cassert>

#include "python/compat.hpp"

namespace pyw {

/// Evidence that this thread holds the GIL. Never stored or captured: only true inside the scope that made it.
class Gil {
  friend class GilAcquire;
  friend class GilHeld;
  Gil() = default;

 public:
  Gil(const Gil&) = delete;
  Gil& operator=(const Gil&) = delete;
};

/// Opened first thing in every libuv callback that will reach Python. Nests. Main interpreter only.
class GilAcquire {
 public:
  GilAcquire() : state_(PyGILState_Ensure()) {}
  ~GilAcquire() { PyGILState_Release(state_); }
  GilAcquire(const GilAcquire&) = delete;
  GilAcquire& operator=(const GilAcquire&) = delete;
  operator const Gil&() const { return gil_; }  // NOLINT: it is the evidence

 private:
  PyGILState_STATE state_;
  Gil gil_;
};

/// For functions that CPython calls (slots, module functions): the GIL is held because of who the caller is. Costs nothing.
class GilHeld {
 public:
  GilHeld() { assert(PyGILState_Check()); }
  GilHeld(const GilHeld&) = delete;
  GilHeld& operator=(const GilHeld&) = delete;
  operator const Gil&() const { return gil_; }  // NOLINT: it is the evidence

 private:
  Gil gil_;
};

/// The mirror image: inside its scope this thread does not hold the GIL. Wraps waits (uv_run, poll), nothing else.
class GilRelease {
 public:
  explicit GilRelease(const Gil&) : state_(PyEval_SaveThread()) {}
  ~GilRelease() { PyEval_RestoreThread(state_); }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace pyw
