// The Python type `_erlang_loop.TlsTransport`.

#include "aio/tls_transport.hpp"

namespace pyw::aio {
namespace {

TlsTransportObject* as_transport(PyObject* self) { return reinterpret_cast<TlsTransportObject*>(self); }

/// The connection of a transport, kept alive for a call: what runs in it may close the transport, which then lets go of it.
/// Null when the connection is over and close() was called once more: there is nothing to be said about it any more.
class Held {
 public:
  Held(const Gil& gil, PyObject* transport)
      : protocol_(as_transport(transport)->protocol), alive_(Ref::share(gil, reinterpret_cast<PyObject*>(protocol_))) {}
  explicit operator bool() const { return protocol_ != nullptr; }
  Tls* operator->() const { return &protocol_->tls; }

 private:
  TlsObject* protocol_;
  Ref alive_;
};

// Data ------------------------------------------------------------------------------------------------------------------

PyObject* write(PyObject* self, PyObject* data) {
  const GilHeld gil;
  if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
    PyErr_Format(PyExc_TypeError, "data: expecting a bytes-like instance, got %s", Py_TYPE(data)->tp_name);
    return nullptr;
  }
  const Py_ssize_t size = PyBytes_Check(data) ? PyBytes_GET_SIZE(data) : PyObject_Size(data);
  if (size < 0) return nullptr;
  const Held tls(gil, self);
  return none_if(size == 0 || !tls || tls->write(gil, data));
}

PyObject* writelines(PyObject* self, PyObject* list) {
  const GilHeld gil;
  const Held tls(gil, self);
  return none_if(!tls || tls->write_all(gil, list));
}

PyObject* write_eof(PyObject*, PyObject*) {
  PyErr_SetNone(PyExc_NotImplementedError);
  return nullptr;
}

PyObject* can_write_eof(PyObject*, PyObject*) { Py_RETURN_FALSE; }

PyObject* append_held(PyObject* self, PyObject* data) {
  const GilHeld gil;
  const Held tls(gil, self);
  return none_if(!tls || tls->hold(gil, data));
}

// Life ------------------------------------------------------------------------------------------------------------------

PyObject* is_closing(PyObject* self, PyObject*) { return PyBool_FromLong(as_transport(self)->closed); }

PyObject* close(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Held tls(gil, self);
  if (tls && !tls->check_thread(gil)) return nullptr;
  if (!as_transport(self)->closed) {
    as_transport(self)->closed = true;
    return none_if(!tls || tls->start_shutdown(gil));
  }
  // Protocols often keep their transport: without this, ssl's objects would live as long.
  if (tls && tls->is_over()) Py_CLEAR(as_transport(self)->protocol);
  Py_RETURN_NONE;
}

PyObject* force_close(PyObject* self, PyObject* exception) {
  const GilHeld gil;
  as_transport(self)->closed = true;
  const Held tls(gil, self);
  return none_if(!tls || tls->abort(gil, exception));
}

PyObject* abort(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return !tls || tls->check_thread(gil) ? force_close(self, Py_None) : nullptr;
}

// Flow control ----------------------------------------------------------------------------------------------------------

PyObject* is_reading(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return PyBool_FromLong(tls && !tls->app_reading_paused());
}

PyObject* pause_reading(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return none_if(!tls || tls->pause_reading(gil));
}

PyObject* resume_reading(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return none_if(!tls || tls->resume_reading(gil));
}

PyObject* set_write_buffer_limits(PyObject* self, PyObject* args, PyObject* kwargs) {
  const GilHeld gil;
  WaterMarks marks = Tls::kWriteMarks;
  const Held tls(gil, self);
  return none_if(!tls || (parse_water_marks(args, kwargs, marks) && tls->set_write_marks(gil, marks)));
}

PyObject* set_read_buffer_limits(PyObject* self, PyObject* args, PyObject* kwargs) {
  const GilHeld gil;
  WaterMarks marks = Tls::kReadMarks;
  const Held tls(gil, self);
  return none_if(!tls || (parse_water_marks(args, kwargs, marks, "|OO:set_read_buffer_limits") && tls->set_read_marks(gil, marks)));
}

PyObject* get_write_buffer_limits(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return as_python(tls ? tls->write_marks() : WaterMarks{0, 0});
}

PyObject* get_read_buffer_limits(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return as_python(tls ? tls->read_marks() : WaterMarks{0, 0});
}

PyObject* get_write_buffer_size(PyObject* self, PyObject*) {
  const GilHeld gil;
  std::size_t size = 0;
  const Held tls(gil, self);
  return !tls || tls->write_size(gil, size) ? PyLong_FromSize_t(size) : nullptr;
}

PyObject* get_read_buffer_size(PyObject* self, PyObject*) {
  std::size_t size = 0;
  const GilHeld gil;
  const Held tls(gil, self);
  return !tls || tls->read_size(size) ? PyLong_FromSize_t(size) : nullptr;
}

// What it knows ---------------------------------------------------------------------------------------------------------

PyObject* get_extra_info(PyObject* self, PyObject* args, PyObject* kwargs) {
  const GilHeld gil;
  static const char* names[] = {"name", "default", nullptr};
  PyObject *name, *missing = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O", const_cast<char**>(names), &name, &missing)) return nullptr;
  const Held tls(gil, self);
  return tls ? tls->extra_info(gil, name, missing) : shared_or_none(missing);
}

PyObject* get_protocol(PyObject* self, PyObject*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return shared_or_none(tls ? tls->app_protocol() : nullptr);
}

PyObject* set_protocol(PyObject* self, PyObject* protocol) {
  const GilHeld gil;
  const Held tls(gil, self);
  return none_if(!tls || tls->set_app_protocol(gil, protocol));
}

PyObject* get_ssl_protocol(PyObject* self, void*) { return shared_or_none(reinterpret_cast<PyObject*>(as_transport(self)->protocol)); }
PyObject* get_loop(PyObject* self, void*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return shared_or_none(tls ? tls->loop_object() : nullptr);
}
PyObject* get_closed(PyObject* self, void*) { return PyBool_FromLong(as_transport(self)->closed); }
PyObject* get_protocol_paused(PyObject* self, void*) {
  const GilHeld gil;
  const Held tls(gil, self);
  return PyBool_FromLong(tls && tls->app_writing_paused());
}
PyObject* get_sendfile(PyObject* self, void*) { return shared_or_none(state_of_type(Py_TYPE(self)).tls.fallback.get()); }
PyObject* get_start_tls(PyObject*, void*) { Py_RETURN_TRUE; }

// The object ------------------------------------------------------------------------------------------------------------

PyObject* refuse_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyErr_Format(PyExc_TypeError, "%s objects are made with a TlsProtocol", type->tp_name);
  return nullptr;
}

void finalize(PyObject* self) {
  if (as_transport(self)->closed || !as_transport(self)->protocol) return;
  as_transport(self)->closed = true;
  Ref saved = Ref::steal(compat::take_raised());
  if (PyErr_ResourceWarning(self, 1, "unclosed transport <asyncio._SSLProtocolTransport object>") < 0) PyErr_WriteUnraisable(self);
  if (saved) compat::restore_raised(saved.release());
}

constexpr int kKeywords = METH_VARARGS | METH_KEYWORDS;
constexpr int kByName = METH_FASTCALL | METH_KEYWORDS;

PyMethodDef methods[] = {
    {"write", function(named<write, "data">), kByName, "write($self, data)\n--\n\nSends it, encrypted; what cannot leave at once is kept and sent later."},
    {"writelines", function(named<writelines, "list_of_data">), kByName,
     "writelines($self, list_of_data)\n--\n\nThe same for several pieces, which may share records."},
    {"write_eof", write_eof, METH_NOARGS, "write_eof($self, /)\n--\n\nTLS has no half-closed connections: NotImplementedError."},
    {"can_write_eof", can_write_eof, METH_NOARGS, "can_write_eof($self, /)\n--\n\nFalse."},
    {"is_closing", is_closing, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closed or about to be."},
    {"close", close, METH_NOARGS, "close($self, /)\n--\n\nSends what is kept, says goodbye to the peer and closes."},
    {"abort", abort, METH_NOARGS, "abort($self, /)\n--\n\nCloses at once; what is kept is lost."},
    {"_force_close", force_close, METH_O, nullptr},
    {"is_reading", is_reading, METH_NOARGS, "is_reading($self, /)\n--\n\nWhether the protocol is given data."},
    {"pause_reading", pause_reading, METH_NOARGS, "pause_reading($self, /)\n--\n\nThe protocol gets nothing until resume_reading()."},
    {"resume_reading", resume_reading, METH_NOARGS, "resume_reading($self, /)\n--\n\nThe protocol gets data again."},
    {"set_write_buffer_limits", function(set_write_buffer_limits), kKeywords,
     "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\nWhen the protocol's pause_writing() and resume_writing() are called."},
    {"get_write_buffer_limits", get_write_buffer_limits, METH_NOARGS, "get_write_buffer_limits($self, /)\n--\n\n(low, high)"},
    {"get_write_buffer_size", get_write_buffer_size, METH_NOARGS, "get_write_buffer_size($self, /)\n--\n\nBytes that are kept here."},
    {"set_read_buffer_limits", function(set_read_buffer_limits), kKeywords,
     "set_read_buffer_limits($self, /, high=None, low=None)\n--\n\nWhen the transport below stops and resumes reading."},
    {"get_read_buffer_limits", get_read_buffer_limits, METH_NOARGS, "get_read_buffer_limits($self, /)\n--\n\n(low, high)"},
    {"get_read_buffer_size", get_read_buffer_size, METH_NOARGS, "get_read_buffer_size($self, /)\n--\n\nEncrypted bytes that wait here."},
    {"get_extra_info", function(get_extra_info), kKeywords,
     "get_extra_info($self, /, name, default=None)\n--\n\nsslcontext, ssl_object, peercert, cipher, compression, or what the transport below knows."},
    {"get_protocol", get_protocol, METH_NOARGS, "get_protocol($self, /)\n--\n\nThe application's."},
    {"set_protocol", function(named<set_protocol, "protocol">), kByName, "set_protocol($self, protocol)\n--\n\nAnother one from now on."},
    {"_test__append_write_backlog", append_held, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef attributes[] = {{"_ssl_protocol", get_ssl_protocol, nullptr, nullptr, nullptr},
                            {"_loop", get_loop, nullptr, nullptr, nullptr},
                            {"_closed", get_closed, nullptr, nullptr, nullptr},
                            {"_protocol_paused", get_protocol_paused, nullptr, nullptr, nullptr},
                            {"_sendfile_compatible", get_sendfile, nullptr, nullptr, nullptr},
                            {"_start_tls_compatible", get_start_tls, nullptr, nullptr, nullptr},
                            {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, slot(refuse_new)},
                       {Py_tp_finalize, slot(finalize)},
                       {Py_tp_dealloc, slot(Life<TlsTransportObject>::dealloc)},
                       {Py_tp_traverse, slot(Life<TlsTransportObject>::traverse)},
                       {Py_tp_clear, slot(Life<TlsTransportObject>::clear)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, attributes},
                       {Py_tp_members, TlsTransportObject::members()},
                       {0, nullptr}};

}  // namespace

bool make_tls_transport_type(const Gil& gil, TlsState& state, PyObject* module) {
  const Ref bases = Ref::steal(PyTuple_Pack(1, state.flow_control.get()));
  state.transport = add_type<TlsTransportObject>(gil, module, "_erlang_loop.SSLTransport", slots, bases);
  return static_cast<bool>(state.transport);
}

PyObject* new_tls_transport(const Gil&, TlsState& state, TlsObject* protocol) {
  auto* type = reinterpret_cast<PyTypeObject*>(state.transport.get());
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  Py_INCREF(protocol);
  as_transport(self)->protocol = protocol;
  return self;
}

}  // namespace pyw::aio
