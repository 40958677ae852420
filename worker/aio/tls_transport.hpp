#pragma once

#include "aio/tls_protocol.hpp"

namespace pyw::aio {

/// What the application writes to: an asyncio.Transport on a Tls, which does the work. asyncio's _FlowControlMixin is its base, because
/// loop.sendfile() insists on that.
/// Threads: the loop's. GIL: held.
struct TlsTransportObject : TransportHead {
  TlsObject* protocol;  ///< owned; null: over
  bool closed;

  // For Life.
  int traverse(visitproc visit, void* arg) const { return protocol ? visit(reinterpret_cast<PyObject*>(protocol), arg) : 0; }
  void clear() { Py_CLEAR(protocol); }
  void destroy() { clear(); }
};

bool make_tls_transport_type(const Gil& gil, TlsState& state, PyObject* module);

/// New reference; null: an exception is pending.
PyObject* new_tls_transport(const Gil& gil, TlsState& state, TlsObject* protocol);

}  // namespace pyw::aio
