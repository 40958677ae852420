#pragma once

#include "python/ref.hpp"

namespace pyw::aio {

/// While it lives, Python code runs in a transport's own context: the one that was current when the connection was made. A context cannot be
/// entered twice, so a callback within a callback (a protocol writes in data_received, and is told to pause) stays in the one in which it is called;
/// `inside` belongs to the transport and says whether that is so.
/// GIL: held at both ends.
class ContextScope {
 public:
  ContextScope(const Gil& gil, PyObject* context, bool& inside) : context_(Ref::share(gil, context)), inside_(inside) {
    if (inside_ || !context_) return;
    entered_ = inside_ = PyContext_Enter(context_.get()) == 0;
    if (!entered_) PyErr_Clear();  // somebody else is in it: their callback is called all the same
  }
  ~ContextScope() {
    if (!entered_) return;
    inside_ = false;
    PyContext_Exit(context_.get());  // keeps a pending exception
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  const Ref context_;
  bool& inside_;
  bool entered_ = false;
};

}  // namespace pyw::aio
