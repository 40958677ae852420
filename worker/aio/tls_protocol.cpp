// The Python type `_erlang_loop.TlsProtocol`, and what the module has for TLS.

#include "aio/tls_protocol.hpp"

#include <new>

#include "aio/module.hpp"
#include "aio/tls_transport.hpp"

namespace pyw::aio {
namespace {

TlsObject* as_object(PyObject* self) { return reinterpret_cast<TlsObject*>(self); }
Tls& tls_of(PyObject* self) { return as_object(self)->tls; }
using Our = Methods<tls_of>;

// The transport below calls these ---------------------------------------------------------------------------------------

PyObject* get_buffer(PyObject* self, PyObject*) {
  const GilHeld gil;
  return tls_of(self).buffer(gil);
}

PyObject* buffer_updated(PyObject* self, PyObject* count) {
  const GilHeld gil;
  const std::size_t size = PyLong_AsSize_t(count);
  if (size == static_cast<std::size_t>(-1) && PyErr_Occurred()) return nullptr;
  return none_if(tls_of(self).buffer_updated(gil, size));
}

PyObject* data_received(PyObject* self, PyObject* data) {
  const GilHeld gil;
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return nullptr;
  const bool ok = tls_of(self).feed(gil, data, static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len));
  PyBuffer_Release(&view);
  return none_if(ok);
}

PyObject* eof_received(PyObject* self, PyObject*) {
  const GilHeld gil;
  bool keep_open;
  if (!tls_of(self).eof_received(gil, keep_open)) return nullptr;
  return shared_or_none(keep_open ? Py_True : Py_None);
}

PyObject* pause_writing(PyObject* self, PyObject*) {
  tls_of(self).pause_writing();
  Py_RETURN_NONE;
}

// What asyncio's own has, too -------------------------------------------------------------------------------------------

PyObject* get_state(PyObject* self, void*) { return PyUnicode_FromString(Tls::name_of(tls_of(self).phase())); }

// The object ------------------------------------------------------------------------------------------------------------

/// What Python prepares: defaults, checks, and ssl's objects. False: an exception is pending.
bool prepare(const Gil& gil, TlsState& state, PyObject* sslcontext, int server_side, PyObject* hostname, PyObject* handshake_timeout,
             PyObject* shutdown_timeout, Tls::Parts& parts) {
  const Ref made = Ref::steal(PyObject_CallMethod(state.support.get(), "prepare", "OOOOO", sslcontext, server_side ? Py_True : Py_False, hostname,
                                                  handshake_timeout, shutdown_timeout));
  PyObject *context, *sslobj, *incoming, *outgoing, *extra, *handshake, *shutdown;
  if (!made || !PyArg_ParseTuple(made.get(), "OOOOOOO", &context, &sslobj, &incoming, &outgoing, &extra, &handshake, &shutdown)) return false;
  parts.sslcontext = Ref::share(gil, context);
  parts.sslobj = Ref::share(gil, sslobj);
  parts.incoming = Ref::share(gil, incoming);
  parts.outgoing = Ref::share(gil, outgoing);
  parts.extra = Ref::share(gil, extra);
  parts.handshake_timeout = Ref::share(gil, handshake);
  parts.shutdown_timeout = Ref::share(gil, shutdown);
  return true;
}

PyObject* new_protocol(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  const GilHeld gil;
  static const char* names[] = {"loop", "app_protocol", "sslcontext", "waiter", "server_side", "server_hostname", "call_connection_made",
                                "ssl_handshake_timeout", "ssl_shutdown_timeout", nullptr};
  PyObject *loop, *app, *sslcontext, *waiter, *hostname = Py_None, *handshake_timeout = Py_None, *shutdown_timeout = Py_None;
  int server_side = 0, call_connection_made = 1;
  State* all = state_behind(type);
  if (!all || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOO|pOpOO", const_cast<char**>(names), all->loop.get(), &loop, &app, &sslcontext,
                                           &waiter, &server_side, &hostname, &call_connection_made, &handshake_timeout, &shutdown_timeout))
    return nullptr;
  TlsState& state = all->tls;
  Tls::Parts parts;
  if (!prepare(gil, state, sslcontext, server_side, hostname, handshake_timeout, shutdown_timeout, parts)) return nullptr;
  parts.loop = Ref::share(gil, loop);
  if (waiter != Py_None) parts.waiter = Ref::share(gil, waiter);
  parts.call_connection_made = call_connection_made != 0;
  parts.context = Ref::steal(PyContext_CopyCurrent());
  if (!parts.context) return nullptr;
  Ref self = Ref::steal(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  new (&as_object(self.get())->tls) Tls(as_object(self.get()), state);
  return tls_of(self.get()).open(gil, std::move(parts), app) ? self.release() : nullptr;
}

PyMethodDef methods[] = {
    {"connection_made", Our::call_with<&Tls::connection_made>, METH_O, "connection_made($self, transport, /)\n--\n\nBegins the handshake."},
    {"connection_lost", Our::call_with<&Tls::connection_lost>, METH_O,
     "connection_lost($self, exc, /)\n--\n\nTells the application, if it knew of a connection."},
    {"get_buffer", get_buffer, METH_O, "get_buffer($self, sizehint, /)\n--\n\nWhere received bytes are to be put; to be used at once."},
    {"buffer_updated", buffer_updated, METH_O, "buffer_updated($self, nbytes, /)\n--\n\nSo many were put there."},
    {"data_received", data_received, METH_O, "data_received($self, data, /)\n--\n\nFor transports that have the bytes already."},
    {"eof_received", eof_received, METH_NOARGS, "eof_received($self, /)\n--\n\nThe peer sends no more."},
    {"pause_writing", pause_writing, METH_NOARGS, "pause_writing($self, /)\n--\n\nThe transport has enough for now."},
    {"resume_writing", Our::call<&Tls::resume_writing>, METH_NOARGS, "resume_writing($self, /)\n--\n\nThe transport takes more."},
    {"_check_handshake_timeout", Our::call<&Tls::check_handshake_timeout>, METH_NOARGS, nullptr},
    {"_check_shutdown_timeout", Our::call<&Tls::check_shutdown_timeout>, METH_NOARGS, nullptr},
    {"_start_shutdown", Our::call<&Tls::start_shutdown>, METH_NOARGS, nullptr},
    {"_abort", Our::call_with<&Tls::abort>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef attributes[] = {{"_app_transport", Our::get<&Tls::app_transport>, nullptr, nullptr, nullptr},
                            {"_app_protocol", Our::get<&Tls::app_protocol>, nullptr, nullptr, nullptr},
                            {"_transport", Our::get<&Tls::transport>, nullptr, nullptr, nullptr},
                            {"_sslcontext", Our::get<&Tls::sslcontext>, nullptr, nullptr, nullptr},
                            {"_sslobj", Our::get<&Tls::sslobj>, nullptr, nullptr, nullptr},
                            {"_extra", Our::get<&Tls::extra>, nullptr, nullptr, nullptr},
                            {"_loop", Our::get<&Tls::loop_object>, nullptr, nullptr, nullptr},
                            {"_waiter", Our::get<&Tls::waiter>, nullptr, nullptr, nullptr},
                            {"_state", get_state, nullptr, nullptr, nullptr},
                            {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, slot(new_protocol)},
                       {Py_tp_dealloc, slot(Life<TlsObject>::dealloc)},
                       {Py_tp_traverse, slot(Life<TlsObject>::traverse)},
                       {Py_tp_clear, slot(Life<TlsObject>::clear)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, attributes},
                       {Py_tp_members, TlsObject::members()},
                       {0, nullptr}};

}  // namespace

bool make_tls_protocol_type(const Gil& gil, TlsState& state, PyObject* module) {
  const Ref bases = Ref::steal(PyTuple_Pack(1, state.buffered_protocol.get()));
  state.protocol = add_type<TlsObject>(gil, module, "_erlang_loop.TlsProtocol", slots, bases);
  return static_cast<bool>(state.protocol);
}

bool TlsState::make(const Gil& gil, PyObject* module) {
  const auto name = [](Ref& place, const char* text) { return static_cast<bool>(place = Ref::steal(PyUnicode_InternFromString(text))); };
  const auto take = [&](Ref& place, const char* from, const char* what) { return static_cast<bool>(place = attribute(gil, from, what)); };
  const char* support_name = "erlang._tls_support";
  const auto of_support = [&](Ref& place, const char* what) { return take(place, support_name, what); };
  return static_cast<bool>(support = Ref::steal(PyImport_ImportModule(support_name))) && of_support(ssl_object, "SSLObject") &&
         of_support(again_errors, "AGAIN_ERRORS") && of_support(zero_return_error, "ZERO_RETURN_ERROR") &&
         of_support(ssl_error, "SSLError") && of_support(certificate_error, "CertificateError") &&
         of_support(fallback, "SENDFILE_FALLBACK") && take(timeout_error, "asyncio", "TimeoutError") &&
         take(buffered_protocol, "asyncio", "BufferedProtocol") && take(flow_control, "asyncio.transports", "_FlowControlMixin") &&
         take(selector_transport, "asyncio.selector_events", "_SelectorTransport") &&
         take(asyncio_tls_transport, "asyncio.sslproto", "_SSLProtocolTransport") && name(s_read, "read") && name(s_write, "write") &&
         name(s_pending, "pending") && name(s_do_handshake, "do_handshake") && name(s_unwrap, "unwrap") && name(s_getpeercert, "getpeercert") &&
         name(s_cancel, "cancel") && name(s_cancelled, "cancelled") && name(s_force_close, "_force_close") && name(s_abort, "abort") &&
         name(s_pause_reading, "pause_reading") && name(s_resume_reading, "resume_reading") && name(s_get_extra_info, "get_extra_info") &&
         name(s_set_result, "set_result") && name(s_set_exception, "set_exception") && name(s_connection_made, "connection_made") &&
         name(s_connection_lost, "connection_lost") && name(s_data_received, "data_received") && name(s_eof_received, "eof_received") &&
         name(s_get_buffer, "get_buffer") && name(s_buffer_updated, "buffer_updated") && name(s_pause_writing, "pause_writing") &&
         name(s_resume_writing, "resume_writing") && name(s_close, "close") && name(s_is_closing, "is_closing") && name(s_buffer, "_tls_buffer") &&
         make_tls_protocol_type(gil, *this, module) && make_tls_transport_type(gil, *this, module);
}

int TlsState::traverse(visitproc visit, void* arg) const {
  for (const Ref* each : {&protocol, &transport, &support, &buffered_protocol, &flow_control, &ssl_object, &again_errors, &zero_return_error, &ssl_error,
                          &certificate_error, &timeout_error, &fallback, &selector_transport, &asyncio_tls_transport})
    if (const int stop = each->traverse(visit, arg)) return stop;
  return 0;
}

}  // namespace pyw::aio
