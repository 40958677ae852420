#pragma once

#include "python/ref.hpp"

namespace pyw::aio {

/// What TLS needs beside what State has: its types, ssl's exceptions, the Python half (erlang._tls_support) and names. GIL: needed throughout.
struct TlsState {
  Ref protocol, transport;  ///< types of ours

  Ref support, buffered_protocol, flow_control, ssl_object, again_errors, zero_return_error, ssl_error, certificate_error, timeout_error, fallback;
  /// Transports of asyncio that read into a protocol's buffer and tell it at once.
  Ref selector_transport, asyncio_tls_transport;

  Ref s_read, s_write, s_pending, s_do_handshake, s_unwrap, s_getpeercert, s_cancel, s_cancelled, s_force_close, s_abort, s_pause_reading,
      s_resume_reading, s_get_extra_info, s_set_result, s_set_exception, s_connection_made, s_connection_lost, s_data_received, s_eof_received,
      s_get_buffer, s_buffer_updated, s_pause_writing, s_resume_writing, s_close, s_is_closing, s_buffer;

  /// Makes the types and adds them to `module`. False: an exception is pending.
  bool make(const Gil& gil, PyObject* module);
  int traverse(visitproc visit, void* arg) const;
};

}  // namespace pyw::aio
