#pragma once

#include <array>

#include "aio/receive_room.hpp"
#include "aio/run_functions.hpp"
#include "aio/tls_state.hpp"
#include "python/ref.hpp"

namespace pyw::aio {

struct HandleObject;

/// What the module `_erlang_loop` owns: its types, what it calls of asyncio, and names that are looked up often. One per module, so
/// nothing here is global. GIL: needed to make, use and end it.
struct State {
  /// Types of ours. Each but `loop` derives from asyncio's class of that kind.
  Ref handle, timer_handle, loop, stream, datagram, sock_call;

  /// Of asyncio, and our own Python half.
  Ref future, task, base_loop, selector_loop, transport_socket, buffered_protocol, socket, helpers, reader_behind, was_fed;

  /// Of the socket module. The members of its enums AddressFamily and SocketKind are dicts by number.
  Ref gaierror, address_families, socket_kinds;

  /// Interned names.
  Ref s_loop, s_context, s_done, s_set_result, s_set_exception, s_connection_made, s_connection_lost, s_data_received, s_eof_received, s_get_buffer,
      s_buffer_updated, s_pause_writing, s_resume_writing, s_datagram_received, s_error_received, s_close, s_attach, s_detach, s_fileno,
      s_future_blocking, s_self, s_buffer;
  /// Tuples of keyword names for vectorcalls.
  Ref kw_loop, kw_context;
  Ref empty;  ///< b""

#ifndef Py_GIL_DISABLED
  ReceiveRoom receive_room;  ///< of all loops
#endif
  TlsState tls;
  RunFunctions running;

#ifndef Py_GIL_DISABLED
  /// Handles that have been used, kept for the next ones: of all loops, for the GIL sees to it that one thread at a time is here. The sanitizer can only see the use of one that was really freed.
#ifdef __SANITIZE_ADDRESS__
  static constexpr std::size_t kFree = 1;
#else
  static constexpr std::size_t kFree = 512;
#endif
  std::array<HandleObject*, kFree> free_handles;
  std::size_t free_count = 0;
#endif

  ~State();
  /// Imports asyncio, makes the types and adds them to `module`. False: an exception is pending.
  bool make(const Gil& gil, PyObject* module);
  int traverse(visitproc visit, void* arg) const;
};

/// A class that `from` defines. Empty: an exception is pending.
Ref attribute(const Gil& gil, const char* module, const char* name);

/// Whether a protocol is to be given data in buffers of its own: a BufferedProtocol, or another with its methods and none for received data.
/// -1: an exception is pending.
int wants_buffers(const Gil& gil, const Ref& buffered_protocol, PyObject* protocol);

/// The state behind an instance of exactly one of our types (not of a class that Python derived from one).
inline State& state_of_type(PyTypeObject* type) { return **static_cast<State**>(PyType_GetModuleState(type)); }

}  // namespace pyw::aio
