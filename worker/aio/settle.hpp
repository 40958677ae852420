#pragma once

#include "aio/state.hpp"

namespace pyw::aio {

/// A future gets a result, or `exception` unless that is null; not if it is done, as when somebody has cancelled it. False: an exception is pending.
inline bool settle(const Gil&, State& state, PyObject* future, PyObject* exception) {
  const Ref done = Ref::steal(PyObject_CallMethodNoArgs(future, state.s_done.get()));
  if (!done) return false;
  if (done.get() == Py_True) return true;
  return static_cast<bool>(Ref::steal(exception ? PyObject_CallMethodOneArg(future, state.s_set_exception.get(), exception)
                                                : PyObject_CallMethodOneArg(future, state.s_set_result.get(), Py_None)));
}

}  // namespace pyw::aio
