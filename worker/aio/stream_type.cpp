// The Python type `_erlang_loop.StreamTransport`.

#include <new>

#include "aio/module.hpp"
#include "aio/stream_transport.hpp"

namespace pyw::aio {
namespace {

StreamObject* as_object(PyObject* self) { return reinterpret_cast<StreamObject*>(self); }
StreamTransport& of(PyObject* self) { return *as_object(self)->stream; }
using Our = Methods<of>;

PyObject* can_write_eof(PyObject*, PyObject*) { Py_RETURN_TRUE; }
PyObject* make_empty_waiter(PyObject* self, PyObject*) {
  const GilHeld gil;
  return of(self).make_empty_waiter(gil);
}

PyObject* get_extra_info(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* name = nargs > 0 ? args[0] : nullptr;
  PyObject* missing = nargs > 1 ? args[1] : nullptr;
  bool fits = nargs <= 2;
  for (Py_ssize_t i = 0; fits && kwnames && i < PyTuple_GET_SIZE(kwnames); ++i) {
    PyObject* keyword = PyTuple_GET_ITEM(kwnames, i);
    PyObject*& place = PyUnicode_CompareWithASCIIString(keyword, "name") == 0 ? name : missing;
    fits = !place && (&place == &name || PyUnicode_CompareWithASCIIString(keyword, "default") == 0);
    place = args[nargs + i];
  }
  if (!fits || !name) {
    PyErr_SetString(PyExc_TypeError, "get_extra_info(name, default=None)");
    return nullptr;
  }
  const GilHeld gil;
  StreamTransport& stream = of(self);
  PyObject* found = PyDict_GetItemWithError(stream.extra(), name);
  if (!found && !PyErr_Occurred() && stream.socket().describe(gil, stream.loop()->state(), name, stream.extra()))
    found = PyDict_GetItemWithError(stream.extra(), name);
  if (!found && PyErr_Occurred()) return nullptr;
  return shared_or_none(found ? found : missing ? missing : Py_None);
}

PyObject* repr(PyObject* self) {
  const StreamTransport& stream = of(self);
  const char* state = stream.fd() < 0 ? " closed" : stream.is_closing() ? " closing" : "";
  return PyUnicode_FromFormat("<%s%s fd=%d %s write=<bufsize=%zu>>", Py_TYPE(self)->tp_name, state, stream.fd(),
                              stream.is_reading() ? "read=polling" : "read=idle", stream.queued());
}

// asyncio's own code (sendfile, start_tls, servers) reads these, and others that know its transports do.
PyObject* get_extra(PyObject* self, void*) {
  const GilHeld gil;
  StreamTransport& stream = of(self);
  for (const char* text : {"socket", "sockname", "peername"}) {
    const Ref name = Ref::steal(PyUnicode_FromString(text));
    const int known = name ? PyDict_Contains(stream.extra(), name.get()) : -1;
    if (known < 0 || (known == 0 && !stream.socket().describe(gil, stream.loop()->state(), name.get(), stream.extra()))) return nullptr;
  }
  return shared_or_none(stream.extra());
}
PyObject* get_sock(PyObject* self, void*) {
  const GilHeld gil;
  Ref socket = of(self).socket().python(gil, of(self).loop()->state());
  return socket || PyErr_Occurred() ? socket.release() : shared_or_none(nullptr);
}
PyObject* get_true(PyObject*, void*) { Py_RETURN_TRUE; }
PyObject* get_sendfile(PyObject* self, void*) {
  return PyObject_GetAttrString(of(self).loop()->state().helpers.get(), "TRY_NATIVE_SENDFILE");
}

PyGetSetDef attributes[] = {{"_extra", get_extra, nullptr, nullptr, nullptr},
                            {"_loop", Our::get<&StreamTransport::loop_object>, nullptr, nullptr, nullptr},
                            {"_sock", get_sock, nullptr, nullptr, nullptr},
                            {"_sock_fd", Our::get<&StreamTransport::fd>, nullptr, nullptr, nullptr},
                            {"_protocol", Our::get<&StreamTransport::protocol>, nullptr, nullptr, nullptr},
                            {"_protocol_paused", Our::get<&StreamTransport::protocol_paused>, nullptr, nullptr, nullptr},
                            {"_closing", Our::get<&StreamTransport::is_closing>, nullptr, nullptr, nullptr},
                            {"_paused", Our::get<&StreamTransport::reading_paused>, nullptr, nullptr, nullptr},
                            {"_start_tls_compatible", get_true, nullptr, nullptr, nullptr},
                            {"_sendfile_compatible", get_sendfile, nullptr, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef methods[] = {
    {"write", function(Our::call_named<&StreamTransport::write, "data">), METH_FASTCALL | METH_KEYWORDS, "write($self, data)\n--\n\nSends bytes; never blocks."},
    {"writelines", function(Our::call_named<&StreamTransport::write_lines, "list_of_data">), METH_FASTCALL | METH_KEYWORDS, "writelines($self, list_of_data)\n--\n\nSends several pieces."},
    {"write_eof", Our::call<&StreamTransport::write_eof>, METH_NOARGS,
     "write_eof($self, /)\n--\n\nCloses our side of the stream when all has been sent."},
    {"can_write_eof", can_write_eof, METH_NOARGS, "can_write_eof($self, /)\n--\n\nTrue."},
    {"close", Our::call<&StreamTransport::close>, METH_NOARGS, "close($self, /)\n--\n\nCloses when all has been sent."},
    {"abort", Our::call<&StreamTransport::abort>, METH_NOARGS, "abort($self, /)\n--\n\nCloses now; what has not been sent is dropped."},
    {"is_closing", Our::ask<&StreamTransport::is_closing>, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closed or about to be."},
    {"is_reading", Our::ask<&StreamTransport::is_reading>, METH_NOARGS, "is_reading($self, /)\n--\n\nWhether data is received."},
    {"pause_reading", Our::call<&StreamTransport::pause_reading>, METH_NOARGS,
     "pause_reading($self, /)\n--\n\nNo data is received until resume_reading()."},
    {"resume_reading", Our::call<&StreamTransport::resume_reading>, METH_NOARGS, "resume_reading($self, /)\n--\n\nData is received again."},
    {"set_protocol", function(Our::call_named<&StreamTransport::set_protocol, "protocol">), METH_FASTCALL | METH_KEYWORDS, "set_protocol($self, protocol)\n--\n\nGives it another protocol."},
    {"get_protocol", Our::ask<&StreamTransport::protocol>, METH_NOARGS,
     "get_protocol($self, /)\n--\n\nThe protocol; None when the connection is lost."},
    {"get_extra_info", function(get_extra_info), METH_FASTCALL | METH_KEYWORDS,
     "get_extra_info($self, name, default=None)\n--\n\n'socket', 'sockname', 'peername' and what else is known."},
    {"get_write_buffer_size", Our::ask<&StreamTransport::queued>, METH_NOARGS, "get_write_buffer_size($self, /)\n--\n\nBytes that wait."},
    {"get_write_buffer_limits", Our::ask<&StreamTransport::marks>, METH_NOARGS, "get_write_buffer_limits($self, /)\n--\n\n(low, high) in bytes."},
    {"set_write_buffer_limits", function(Our::set_write_buffer_limits), METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits($self, high=None, low=None)\n--\n\nWhen the protocol is told to pause and to go on, in bytes."},
    {"_make_empty_waiter", make_empty_waiter, METH_NOARGS, nullptr},
    {"_reset_empty_waiter", Our::call<&StreamTransport::reset_empty_waiter>, METH_NOARGS, nullptr},
    {"_force_close", Our::call_with<&StreamTransport::force_close>, METH_O, nullptr},
    {"_fatal_error", Our::fatal_error, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

// StreamTransport(loop, sock, protocol, waiter, extra, server). `sock` is a socket.socket, or the number of a connected socket, which is taken even
// if this fails.
PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  const GilHeld gil;
  PyObject *loop, *socket, *protocol, *waiter, *extra, *server;
  if (!PyArg_ParseTuple(args, "OOOOOO:StreamTransport", &loop, &socket, &protocol, &waiter, &extra, &server)) return nullptr;
  UniqueFd taken(PyLong_CheckExact(socket) ? static_cast<int>(PyLong_AsLong(socket)) : -1);
  State* state = state_behind(type);
  if (!state || !is_open_loop(*state, loop)) return nullptr;
  const int fd = taken ? taken.get() : PyObject_AsFileDescriptor(socket);
  if (fd < 0) return nullptr;
  const auto unless_none = [&](PyObject* object) { return object == Py_None ? Ref() : Ref::share(gil, object); };
  return make_stream(gil, *state,
                     {Ref::share(gil, loop), Ref::share(gil, protocol), unless_none(waiter), unless_none(extra), unless_none(server),
                      taken ? StreamSocket(std::move(taken)) : StreamSocket(Ref::share(gil, socket), fd)})
      .release();
}

void finalize(PyObject* self) {
  const GilHeld gil;
  if (!as_object(self)->stream || !of(self).socket().is_open()) return;
  Ref pending = Ref::steal(compat::take_raised());
  of(self).detach();  // before the number of the descriptor may be somebody else's
  State* state = state_behind(Py_TYPE(self));
  if (!state || !Ref::steal(PyObject_CallMethod(state->helpers.get(), "unclosed", "OO", self, of(self).server() ? of(self).server() : Py_None)))
    PyErr_WriteUnraisable(self);
  of(self).socket().close(gil, of(self).loop()->state());
  if (pending) compat::restore_raised(pending.release());
}

PyType_Slot slots[] = {{Py_tp_new, slot(make)},
                       {Py_tp_init, slot(init_nothing)},
                       {Py_tp_finalize, slot(finalize)},
                       {Py_tp_dealloc, slot(Life<StreamObject>::dealloc)},
                       {Py_tp_traverse, slot(Life<StreamObject>::traverse)},
                       {Py_tp_clear, slot(Life<StreamObject>::clear)},
                       {Py_tp_repr, slot(repr)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, attributes},
                       {Py_tp_members, StreamObject::members()},
                       {0, nullptr}};

}  // namespace

bool tell_server(const Gil&, const Ref& method, PyObject* server, PyObject* transport) {
  PyObject* args[2] = {server, transport};
  return static_cast<bool>(Ref::steal(PyObject_VectorcallMethod(method.get(), args, PY_VERSION_HEX >= 0x030D0000 ? 2 : 1, nullptr)));
}

Ref make_stream(const Gil& gil, State& state, StreamTransport::Parts parts) {
  if (!can_be_connected(state, parts.protocol.get())) return {};
  Ref context = Ref::steal(PyContext_CopyCurrent());
  parts.extra = Ref::steal(parts.extra ? PyDict_Copy(parts.extra.get()) : PyDict_New());
  if (!context || !parts.extra) return {};
  auto* type = reinterpret_cast<PyTypeObject*>(state.stream.get());
  Ref self = Ref::steal(type->tp_alloc(type, 0));
  if (!self) return {};
  auto& stream = as_object(self.get())->stream;
  new (&stream) std::optional<StreamTransport>();
  const Ref protocol = Ref::share(gil, parts.protocol.get()), server = Ref::share(gil, parts.server.get());
  stream.emplace(gil, as_object(self.get()), std::move(parts), std::move(context));
  if (!stream->set_protocol(gil, protocol.get())) return {};
  if (server && !tell_server(gil, state.s_attach, server.get(), self.get())) return {};
  return stream->socket().use(gil, state) && stream->begin(gil) ? std::move(self) : Ref();
}

bool make_stream_type(const Gil& gil, State& state, PyObject* module) {
  const Ref base = attribute(gil, "asyncio.transports", "_FlowControlMixin");
  const Ref bases = Ref::steal(base ? PyTuple_Pack(1, base.get()) : nullptr);
  state.stream = add_type<StreamObject>(gil, module, "_erlang_loop.StreamTransport", slots, bases);
  return static_cast<bool>(state.stream);
}

}  // namespace pyw::aio
