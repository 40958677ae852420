#include "aio/module.hpp"

#include <memory>

#include "aio/listener.hpp"
#include "aio/pipe_end.hpp"
#include "aio/slots.hpp"
#include "aio/stream_transport.hpp"
#include "aio/datagram.hpp"
#include "aio/sock_call.hpp"
#include "aio/spawn_functions.hpp"

namespace pyw::aio {
namespace {

State* state_of_module(PyObject* module) { return *static_cast<State**>(PyModule_GetState(module)); }

int fill(PyObject* module) {
  const GilHeld gil;
  auto state = std::make_unique<State>();
  State* const made = state.get();
  *static_cast<State**>(PyModule_GetState(module)) = state.release();
  return made->make(gil, module) ? 0 : -1;
}

int traverse(PyObject* module, visitproc visit, void* arg) {
  const State* state = state_of_module(module);
  return state ? state->traverse(visit, arg) : 0;
}

void free_module(void* module) {
  auto** place = static_cast<State**>(PyModule_GetState(static_cast<PyObject*>(module)));
  if (place) delete std::exchange(*place, nullptr);
}

PyModuleDef_Slot slots[] = {{Py_mod_exec, slot(fill)},
#if PY_VERSION_HEX >= 0x030C0000
                            {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
                            {0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "_erlang_loop",
                          "The native half of erlang.ErlangEventLoop.",
                          sizeof(State*),
                          nullptr,
                          slots,
                          traverse,
                          nullptr,
                          free_module};

Ref interned(const char* text) { return Ref::steal(PyUnicode_InternFromString(text)); }

}  // namespace

Ref attribute(const Gil&, const char* module, const char* name) {
  const Ref imported = Ref::steal(PyImport_ImportModule(module));
  return imported ? Ref::steal(PyObject_GetAttrString(imported.get(), name)) : Ref();
}

int wants_buffers(const Gil&, const Ref& buffered_protocol, PyObject* protocol) {
  const int is_one = PyObject_IsInstance(protocol, buffered_protocol.get());
  if (is_one != 0) return is_one;
  return !PyObject_HasAttrString(protocol, "data_received") && PyObject_HasAttrString(protocol, "get_buffer");
}

State* state_behind(PyTypeObject* type) {
  for (PyTypeObject* at = type; at; at = at->tp_base) {
    if (!(at->tp_flags & Py_TPFLAGS_HEAPTYPE)) continue;
    PyObject* module = reinterpret_cast<PyHeapTypeObject*>(at)->ht_module;
    if (module && PyModule_Check(module) && PyModule_GetDef(module) == &definition) return state_of_module(module);
  }
  PyErr_Format(PyExc_TypeError, "%s does not derive from a type of _erlang_loop", type->tp_name);
  return nullptr;
}

State::~State() {
#ifndef Py_GIL_DISABLED
  for (std::size_t i = 0; i < free_count; ++i) PyObject_GC_Del(free_handles[i]);
#endif
}

bool State::make(const Gil& gil, PyObject* module) {
  const auto name = [](Ref& place, const char* text) { return static_cast<bool>(place = interned(text)); };
  const auto names = [](Ref& place, const Ref& one) { return static_cast<bool>(place = Ref::steal(PyTuple_Pack(1, one.get()))); };
  const auto take = [&](Ref& place, const char* from, const char* what) { return static_cast<bool>(place = attribute(gil, from, what)); };
  const auto members = [&](Ref& place, const char* what) {
    const Ref all = attribute(gil, "socket", what);
    return static_cast<bool>(place = Ref::steal(all ? PyObject_GetAttrString(all.get(), "_value2member_map_") : nullptr));
  };
  return name(s_loop, "loop") && name(s_context, "context") && name(s_done, "done") && name(s_set_result, "set_result") &&
         name(s_set_exception, "set_exception") && name(s_connection_made, "connection_made") && name(s_connection_lost, "connection_lost") &&
         name(s_data_received, "data_received") && name(s_eof_received, "eof_received") && name(s_get_buffer, "get_buffer") &&
         name(s_buffer_updated, "buffer_updated") && name(s_pause_writing, "pause_writing") && name(s_resume_writing, "resume_writing") &&
         name(s_datagram_received, "datagram_received") && name(s_error_received, "error_received") && name(s_close, "close") &&
         name(s_attach, "_attach") && name(s_detach, "_detach") && name(s_fileno, "fileno") &&
         name(s_future_blocking, "_asyncio_future_blocking") && name(s_self, "__self__") && name(s_buffer, "_buffer") && names(kw_loop, s_loop) && names(kw_context, s_context) &&
         take(future, "asyncio", "Future") && take(task, "asyncio", "Task") && take(base_loop, "asyncio", "BaseEventLoop") &&
         take(selector_loop, "asyncio.selector_events", "BaseSelectorEventLoop") && take(socket, "socket", "socket") &&
         take(gaierror, "socket", "gaierror") && members(address_families, "AddressFamily") && members(socket_kinds, "SocketKind") &&
         take(transport_socket, "asyncio.trsock", "TransportSocket") && take(buffered_protocol, "asyncio", "BufferedProtocol") &&
         take(reader_behind, "erlang._stream_readers", "reader_behind") && take(was_fed, "erlang._stream_readers", "was_fed") &&
         static_cast<bool>(helpers = Ref::steal(PyImport_ImportModule("erlang._loop_support"))) &&
         static_cast<bool>(empty = Ref::steal(PyBytes_FromStringAndSize(nullptr, 0))) && make_loop_type(gil, *this, module) &&
         make_handle_types(gil, *this, module) && make_stream_type(gil, *this, module) && make_listener_type(gil, *this, module) && make_datagram_type(gil, *this, module) &&
         make_pipe_types(gil, *this, module) &&
         make_sock_call_type(gil, *this, module) && add_spawn_functions(gil, module) && tls.make(gil, module) && running.make(gil);
}

int State::traverse(visitproc visit, void* arg) const {
  for (const Ref* each : {&handle, &timer_handle, &loop, &stream, &datagram, &sock_call, &future, &task, &base_loop, &selector_loop, &socket, &transport_socket, &buffered_protocol, &helpers, &reader_behind, &was_fed,
                          &gaierror, &address_families, &socket_kinds})
    if (const int stop = each->traverse(visit, arg)) return stop;
  return tls.traverse(visit, arg);
}

}  // namespace pyw::aio

PyObject* PyInit__erlang_loop() { return PyModuleDef_Init(&pyw::aio::definition); }
