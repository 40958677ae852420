#pragma once

#include "aio/tls_protocol.hpp"

namespace pyw::aio {

/// What the application writes to: an asyncio.Transport on a Tls, which does the work. asyncio's _FlowControlMixin is its base, because
/// loop.sendfile() insists on that; the room in front is what the base classes keep in their slots, and stays empty.
/// Threads: the loop's. GIL: held.
struct TlsTransportObject {
  PyObject_HEAD
  PyObject* of_base[8];
  PyObject* dict;
  PyObject* weakrefs;
  TlsObject* protocol;  ///< owned; null: over
  bool closed;
};

bool make_tls_transport_type(const Gil& gil, TlsState& state, PyObject* module);

/// New reference; null: an exception is pending.
PyObject* new_tls_transport(const Gil& gil, TlsState& state, TlsObject* protocol);

}  // namespace pyw::aio
