#pragma once

#include "aio/loop.hpp"

namespace pyw::aio {

/// While it lives, something of the loop's runs that is no handle: what a transport does when its descriptor is ready, or in a turn of its own. In debug
/// mode it is logged if it takes loop.slow_callback_duration or longer. GIL: held at both ends.
class SlowWatch {
 public:
  /// `what` is shown, and lives longer.
  SlowWatch(Loop& loop, PyObject* what) : loop_(loop), what_(what), began_(loop.debug() ? Loop::now() : 0) {}
  ~SlowWatch() {
    if (began_ != 0 && loop_.debug() && Loop::now() - began_ >= loop_.slow_callback_duration()) log(Loop::now() - began_);
  }
  SlowWatch(const SlowWatch&) = delete;
  SlowWatch& operator=(const SlowWatch&) = delete;

 private:
  void log(double seconds) const {
    Ref pending = Ref::steal(compat::take_raised());
    if (!Ref::steal(PyObject_CallMethod(loop_.state().helpers.get(), "callback_was_slow", "Od", what_, seconds))) PyErr_WriteUnraisable(what_);
    if (pending) compat::restore_raised(pending.release());
  }

  Loop& loop_;
  PyObject* const what_;
  const double began_;
};

}  // namespace pyw::aio
