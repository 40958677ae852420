// The Python type `_erlang_loop.StreamTransport`.

#include <new>

#include "aio/members.hpp"
#include "aio/module.hpp"
#include "aio/slots.hpp"
#include "aio/stream_transport.hpp"

namespace pyw::aio {
namespace {

StreamObject* as_object(PyObject* self) { return reinterpret_cast<StreamObject*>(self); }
StreamTransport& of(PyObject* self) { return *as_object(self)->stream; }

PyObject* write(PyObject* self, PyObject* data) {
  const GilHeld gil;
  return none_if(of(self).write(gil, data));
}
PyObject* write_lines(PyObject* self, PyObject* lines) {
  const GilHeld gil;
  return none_if(of(self).write_lines(gil, lines));
}
PyObject* write_eof(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).write_eof(gil));
}
PyObject* can_write_eof(PyObject*, PyObject*) { Py_RETURN_TRUE; }
PyObject* close(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).close(gil));
}
PyObject* abort(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).force_close(gil, Py_None));
}
PyObject* force_close(PyObject* self, PyObject* exception) {
  const GilHeld gil;
  return none_if(of(self).force_close(gil, exception));
}
PyObject* fatal_error(PyObject* self, PyObject* args) {
  const GilHeld gil;
  PyObject* exception = nullptr;
  const char* message = "Fatal error on transport";
  if (!PyArg_ParseTuple(args, "O|s:_fatal_error", &exception, &message)) return nullptr;
  return none_if(of(self).fatal(gil, exception, message));
}
PyObject* is_closing(PyObject* self, PyObject*) { return PyBool_FromLong(of(self).is_closing()); }
PyObject* is_reading(PyObject* self, PyObject*) { return PyBool_FromLong(of(self).is_reading()); }
PyObject* pause_reading(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).pause_reading(gil));
}
PyObject* resume_reading(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).resume_reading(gil));
}
PyObject* set_protocol(PyObject* self, PyObject* protocol) {
  const GilHeld gil;
  return none_if(of(self).set_protocol(gil, protocol));
}
PyObject* get_protocol(PyObject* self, PyObject*) { return shared_or_none(of(self).protocol()); }
PyObject* get_write_buffer_size(PyObject* self, PyObject*) { return PyLong_FromSize_t(of(self).queued()); }
PyObject* get_write_buffer_limits(PyObject* self, PyObject*) { return as_python(of(self).marks()); }
PyObject* make_empty_waiter(PyObject* self, PyObject*) {
  const GilHeld gil;
  return of(self).make_empty_waiter(gil);
}
PyObject* reset_empty_waiter(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).reset_empty_waiter(gil));
}

PyObject* set_write_buffer_limits(PyObject* self, PyObject* args, PyObject* kwargs) {
  const GilHeld gil;
  WaterMarks marks;
  return none_if(parse_water_marks(args, kwargs, marks) && of(self).set_marks(gil, marks));
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
PyObject* get_loop(PyObject* self, void*) { return shared_or_none(of(self).loop_object()); }
PyObject* get_sock(PyObject* self, void*) {
  const GilHeld gil;
  Ref socket = of(self).socket().python(gil, of(self).loop()->state());
  return socket || PyErr_Occurred() ? socket.release() : shared_or_none(nullptr);
}
PyObject* get_protocol_attribute(PyObject* self, void*) { return shared_or_none(of(self).protocol()); }
PyObject* get_fd(PyObject* self, void*) { return PyLong_FromLong(of(self).fd()); }
PyObject* get_protocol_paused(PyObject* self, void*) { return PyBool_FromLong(of(self).protocol_paused()); }
PyObject* get_closing(PyObject* self, void*) { return PyBool_FromLong(of(self).is_closing()); }
PyObject* get_paused(PyObject* self, void*) { return PyBool_FromLong(of(self).reading_paused()); }
PyObject* get_true(PyObject*, void*) { Py_RETURN_TRUE; }
PyObject* get_sendfile(PyObject* self, void*) {
  return PyObject_GetAttrString(of(self).loop()->state().helpers.get(), "TRY_NATIVE_SENDFILE");
}

PyGetSetDef attributes[] = {{"_extra", get_extra, nullptr, nullptr, nullptr},
                            {"_loop", get_loop, nullptr, nullptr, nullptr},
                            {"_sock", get_sock, nullptr, nullptr, nullptr},
                            {"_sock_fd", get_fd, nullptr, nullptr, nullptr},
                            {"_protocol", get_protocol_attribute, nullptr, nullptr, nullptr},
                            {"_protocol_paused", get_protocol_paused, nullptr, nullptr, nullptr},
                            {"_closing", get_closing, nullptr, nullptr, nullptr},
                            {"_paused", get_paused, nullptr, nullptr, nullptr},
                            {"_start_tls_compatible", get_true, nullptr, nullptr, nullptr},
                            {"_sendfile_compatible", get_sendfile, nullptr, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef methods[] = {
    {"write", write, METH_O, "write($self, data, /)\n--\n\nSends bytes; never blocks."},
    {"writelines", write_lines, METH_O, "writelines($self, list_of_data, /)\n--\n\nSends several pieces."},
    {"write_eof", write_eof, METH_NOARGS, "write_eof($self, /)\n--\n\nCloses our side of the stream when all has been sent."},
    {"can_write_eof", can_write_eof, METH_NOARGS, "can_write_eof($self, /)\n--\n\nTrue."},
    {"close", close, METH_NOARGS, "close($self, /)\n--\n\nCloses when all has been sent."},
    {"abort", abort, METH_NOARGS, "abort($self, /)\n--\n\nCloses now; what has not been sent is dropped."},
    {"is_closing", is_closing, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closed or about to be."},
    {"is_reading", is_reading, METH_NOARGS, "is_reading($self, /)\n--\n\nWhether data is received."},
    {"pause_reading", pause_reading, METH_NOARGS, "pause_reading($self, /)\n--\n\nNo data is received until resume_reading()."},
    {"resume_reading", resume_reading, METH_NOARGS, "resume_reading($self, /)\n--\n\nData is received again."},
    {"set_protocol", set_protocol, METH_O, "set_protocol($self, protocol, /)\n--\n\nGives it another protocol."},
    {"get_protocol", get_protocol, METH_NOARGS, "get_protocol($self, /)\n--\n\nThe protocol; None when the connection is lost."},
    {"get_extra_info", function(get_extra_info), METH_FASTCALL | METH_KEYWORDS,
     "get_extra_info($self, name, default=None)\n--\n\n'socket', 'sockname', 'peername' and what else is known."},
    {"get_write_buffer_size", get_write_buffer_size, METH_NOARGS, "get_write_buffer_size($self, /)\n--\n\nBytes that wait."},
    {"get_write_buffer_limits", get_write_buffer_limits, METH_NOARGS, "get_write_buffer_limits($self, /)\n--\n\n(low, high) in bytes."},
    {"set_write_buffer_limits", function(set_write_buffer_limits), METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits($self, high=None, low=None)\n--\n\nWhen the protocol is told to pause and to go on, in bytes."},
    {"_make_empty_waiter", make_empty_waiter, METH_NOARGS, nullptr},
    {"_reset_empty_waiter", reset_empty_waiter, METH_NOARGS, nullptr},
    {"_force_close", force_close, METH_O, nullptr},
    {"_fatal_error", fatal_error, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyMemberDef members[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(StreamHead, weak_references), READONLY, nullptr},
                         {"__dictoffset__", T_PYSSIZET, offsetof(StreamHead, dict), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

// StreamTransport(loop, sock, protocol, waiter, extra, server). `sock` is a socket.socket, or the number of a connected socket, which is taken even
// if this fails.
PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  const GilHeld gil;
  PyObject *loop, *socket, *protocol, *waiter, *extra, *server;
  if (!PyArg_ParseTuple(args, "OOOOOO:StreamTransport", &loop, &socket, &protocol, &waiter, &extra, &server)) return nullptr;
  UniqueFd taken(PyLong_CheckExact(socket) ? static_cast<int>(PyLong_AsLong(socket)) : -1);
  State* state = state_behind(type);
  if (!state) return nullptr;
  if (!PyObject_TypeCheck(loop, reinterpret_cast<PyTypeObject*>(state->loop.get()))) {
    PyErr_SetString(PyExc_TypeError, "the loop must be an erlang.ErlangEventLoop");
    return nullptr;
  }
  if (loop_of(loop).closed()) {
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return nullptr;
  }
  const int fd = taken ? taken.get() : PyObject_AsFileDescriptor(socket);
  if (fd < 0) return nullptr;
  const auto unless_none = [&](PyObject* object) { return object == Py_None ? Ref() : Ref::share(gil, object); };
  return make_stream(gil, *state,
                     {Ref::share(gil, loop), Ref::share(gil, protocol), unless_none(waiter), unless_none(extra), unless_none(server),
                      taken ? StreamSocket(std::move(taken)) : StreamSocket(Ref::share(gil, socket), fd)})
      .release();
}

/// Everything is done by __new__; asyncio's __init__ would fill slots that nobody reads.
int init(PyObject*, PyObject*, PyObject*) { return 0; }

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

void dealloc(PyObject* self) {
  if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (as_object(self)->weak_references) PyObject_ClearWeakRefs(self);
  as_object(self)->stream.~optional();
  Py_CLEAR(as_object(self)->dict);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_object(self)->dict);
  return as_object(self)->stream ? of(self).traverse(visit, arg) : 0;
}

int clear(PyObject* self) {
  Py_CLEAR(as_object(self)->dict);
  if (as_object(self)->stream) of(self).clear_references();
  return 0;
}

PyType_Slot slots[] = {{Py_tp_new, slot(make)},           {Py_tp_init, slot(init)},         {Py_tp_finalize, slot(finalize)}, {Py_tp_dealloc, slot(dealloc)},
                       {Py_tp_traverse, slot(traverse)},  {Py_tp_clear, slot(clear)},       {Py_tp_repr, slot(repr)},
                       {Py_tp_methods, methods},          {Py_tp_getset, attributes},       {Py_tp_members, members},
                       {0, nullptr}};

PyType_Spec spec{"_erlang_loop.StreamTransport", sizeof(StreamObject), 0,
                 static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC), slots};

}  // namespace

bool tell_server(const Gil&, const Ref& method, PyObject* server, PyObject* transport) {
  PyObject* args[2] = {server, transport};
  return static_cast<bool>(Ref::steal(PyObject_VectorcallMethod(method.get(), args, PY_VERSION_HEX >= 0x030D0000 ? 2 : 1, nullptr)));
}

Ref make_stream(const Gil& gil, State& state, StreamTransport::Parts parts) {
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
  return stream->begin(gil) ? std::move(self) : Ref();
}

bool make_stream_type(const Gil& gil, State& state, PyObject* module) {
  const Ref base = attribute(gil, "asyncio.transports", "_FlowControlMixin");
  if (!base) return false;
  if (reinterpret_cast<PyTypeObject*>(base.get())->tp_basicsize > static_cast<Py_ssize_t>(offsetof(StreamHead, weak_references))) {
    PyErr_SetString(PyExc_ImportError, "asyncio's transports have more slots than this version of py_port knows");
    return false;
  }
  const Ref bases = Ref::steal(PyTuple_Pack(1, base.get()));
  state.stream = bases ? Ref::steal(PyType_FromModuleAndSpec(module, &spec, bases.get())) : Ref();
  return state.stream && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(state.stream.get())) == 0;
}

}  // namespace pyw::aio
