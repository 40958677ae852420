#pragma once

#include "aio/tls_protocol.hpp"

namespace pyw::aio {

/// Inside its scope the application's context is current: the one that was when the connection was made. A callback within a callback stays
/// in the context in which it is called, for one cannot be entered twice. GIL: held.
class InAppContext {
 public:
  explicit InAppContext(Tls& tls) : tls_(tls), context_(tls.context_.get()) {
    if (tls.in_app_ || !context_) return;
    if (PyContext_Enter(context_) == 0)
      entered_ = tls_.in_app_ = true;
    else
      PyErr_Clear();  // somebody else is in it: their callback is called all the same
  }
  ~InAppContext() {
    if (!entered_) return;
    tls_.in_app_ = false;
    PyContext_Exit(context_);  // keeps a pending exception
  }
  InAppContext(const InAppContext&) = delete;
  InAppContext& operator=(const InAppContext&) = delete;

 private:
  Tls& tls_;
  PyObject* const context_;
  bool entered_ = false;
};

}  // namespace pyw::aio
