#pragma once

#include "aio/state.hpp"
#include "python/compat.hpp"

namespace pyw::aio {

/// A socket.socket with which a transport or a server works. Whoever else closes it meanwhile closes it at the end of that, as with the files that
/// socket.makefile() gives: else the number would be the next socket's, which would get what is written to this one.
/// GIL: held.
class SocketInUse {
 public:
  /// Something that only resembles a socket.socket is left alone. False: an exception is pending.
  bool begin(const Gil&, State& state, PyObject* sock) {
    if (begun_ || !PyObject_TypeCheck(sock, reinterpret_cast<PyTypeObject*>(state.socket.get()))) return true;
    const Ref uses = Ref::steal(PyObject_GetAttrString(sock, "_io_refs")), one = Ref::steal(PyLong_FromLong(1));
    const Ref more = Ref::steal(uses && one ? PyNumber_Add(uses.get(), one.get()) : nullptr);
    begun_ = more && PyObject_SetAttrString(sock, "_io_refs", more.get()) == 0;
    return begun_;
  }
  /// What its close() raises is printed.
  void end(const Gil&, PyObject* sock) {
    if (!std::exchange(begun_, false)) return;
    Ref pending = Ref::steal(compat::take_raised());
    if (!Ref::steal(PyObject_CallMethod(sock, "_decref_socketios", nullptr))) PyErr_WriteUnraisable(sock);
    if (pending) compat::restore_raised(pending.release());
  }

 private:
  bool begun_ = false;
};

}  // namespace pyw::aio
