// The Python type `_erlang_loop.DatagramTransport`.

#include <new>

#include "aio/datagram.hpp"
#include "aio/members.hpp"
#include "aio/slots.hpp"

namespace pyw::aio {
namespace {

PyObject* new_datagram(PyTypeObject* type, PyObject* args, PyObject*) {
  const GilHeld gil;
  PyObject *loop, *sock, *protocol, *address, *waiter, *extra;
  int family;
  State& state = state_of_type(type);
  if (!PyArg_ParseTuple(args, "O!OOOOO!i", state.loop.get(), &loop, &sock, &protocol, &address, &waiter, &PyDict_Type, &extra, &family))
    return nullptr;
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  new (&datagram_in(self)) Datagram(gil, self, loop, sock, protocol, address, family);
  if (datagram_in(self).open(gil, waiter, extra)) return self;
  datagram_in(self).drop(gil);  // the socket is still the caller's, to close
  Py_DECREF(self);
  return nullptr;
}

/// In the place of asyncio.BaseTransport's, which would take the arguments for its own.
int init(PyObject*, PyObject*, PyObject*) { return 0; }

void finalize(PyObject* self) {
  const GilHeld gil;
  datagram_in(self).finalize(gil);
}

void dealloc(PyObject* self) {
  if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  auto* object = reinterpret_cast<DatagramObject*>(self);
  if (object->weak_references) PyObject_ClearWeakRefs(self);
  object->datagram.~Datagram();
  for (PyObject*& slot : object->of_base) Py_CLEAR(slot);
  Py_CLEAR(object->dict);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  auto* object = reinterpret_cast<DatagramObject*>(self);
  Py_VISIT(Py_TYPE(self));
  for (PyObject* slot : object->of_base) Py_VISIT(slot);
  Py_VISIT(object->dict);
  return object->datagram.traverse(visit, arg);
}

int clear(PyObject* self) {
  const GilHeld gil;
  auto* object = reinterpret_cast<DatagramObject*>(self);
  object->datagram.drop(gil);
  for (PyObject*& slot : object->of_base) Py_CLEAR(slot);
  Py_CLEAR(object->dict);
  return 0;
}

PyObject* repr(PyObject* self) {
  const Datagram& datagram = datagram_in(self);
  const char* state = !datagram.sock() ? "closed " : datagram.is_closing() ? "closing " : "";
  return PyUnicode_FromFormat("<%s %sfd=%d read=%s write=<%s, bufsize=%zu>>", Py_TYPE(self)->tp_name, state, datagram.fd(),
                              datagram.is_watching() ? "polling" : "idle", datagram.is_writing() ? "polling" : "idle", datagram.write_buffer_size());
}

/// Puts positional and keyword arguments where they belong; a place without one keeps what it has. False: TypeError is pending.
bool arguments(const char* method, const char* const* names, std::size_t known, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
               PyObject** places) {
  if (static_cast<std::size_t>(nargs) > known) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zu arguments (%zd given)", method, known, nargs);
    return false;
  }
  for (Py_ssize_t i = 0; i < nargs; ++i) places[i] = args[i];
  for (Py_ssize_t i = 0; kwnames && i < PyTuple_GET_SIZE(kwnames); ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, i);
    std::size_t at = 0;
    while (at < known && PyUnicode_CompareWithASCIIString(name, names[at]) != 0) ++at;
    if (at == known || at < static_cast<std::size_t>(nargs)) {
      PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", method, name);
      return false;
    }
    places[at] = args[nargs + i];
  }
  return true;
}

PyObject* sendto(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const GilHeld gil;
  static const char* const names[] = {"data", "addr"};
  PyObject* given[2] = {nullptr, Py_None};
  if (!arguments("sendto", names, 2, args, nargs, kwnames, given)) return nullptr;
  if (!given[0]) {
    PyErr_SetString(PyExc_TypeError, "sendto() needs data");
    return nullptr;
  }
  return none_if(datagram_in(self).sendto(gil, given[0], given[1]));
}

PyObject* set_write_buffer_limits(PyObject* self, PyObject* args, PyObject* kwargs) {
  const GilHeld gil;
  WaterMarks marks;
  return none_if(parse_water_marks(args, kwargs, marks) && datagram_in(self).set_marks(gil, marks));
}

template <bool (Datagram::*Method)(const Gil&)>
PyObject* call(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if((datagram_in(self).*Method)(gil));
}

PyObject* is_closing(PyObject* self, PyObject*) { return PyBool_FromLong(datagram_in(self).is_closing()); }
PyObject* is_reading(PyObject* self, PyObject*) { return PyBool_FromLong(datagram_in(self).is_reading()); }
PyObject* get_write_buffer_size(PyObject* self, PyObject*) { return PyLong_FromSize_t(datagram_in(self).write_buffer_size()); }
PyObject* get_write_buffer_limits(PyObject* self, PyObject*) { return as_python(datagram_in(self).marks()); }
PyObject* get_protocol(PyObject* self, PyObject*) { return shared_or_none(datagram_in(self).protocol()); }
PyObject* set_protocol(PyObject* self, PyObject* protocol) {
  const GilHeld gil;
  datagram_in(self).set_protocol(Ref::share(gil, protocol));
  Py_RETURN_NONE;
}

PyObject* get_sock(PyObject* self, void*) { return shared_or_none(datagram_in(self).sock()); }
PyObject* get_loop(PyObject* self, void*) { return shared_or_none(datagram_in(self).loop_object()); }
PyObject* get_protocol_attribute(PyObject* self, void*) { return shared_or_none(datagram_in(self).protocol()); }
PyObject* get_address(PyObject* self, void*) { return shared_or_none(datagram_in(self).address()); }
PyObject* get_fd(PyObject* self, void*) { return PyLong_FromLong(datagram_in(self).fd()); }
PyObject* get_closing(PyObject* self, void*) { return PyBool_FromLong(datagram_in(self).is_closing()); }

PyMethodDef methods[] = {
    {"sendto", function(sendto), METH_FASTCALL | METH_KEYWORDS,
     "sendto($self, /, data, addr=None)\n--\n\nSends a datagram, now or as soon as the socket takes it."},
    {"close", call<&Datagram::close>, METH_NOARGS, "close($self, /)\n--\n\nSends what is in the buffer and closes."},
    {"abort", call<&Datagram::abort>, METH_NOARGS, "abort($self, /)\n--\n\nCloses at once."},
    {"is_closing", is_closing, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closing or closed."},
    {"pause_reading", call<&Datagram::pause_reading>, METH_NOARGS, "pause_reading($self, /)\n--\n\nNo datagram_received until resume_reading()."},
    {"resume_reading", call<&Datagram::resume_reading>, METH_NOARGS, "resume_reading($self, /)\n--\n\nEnds a pause."},
    {"is_reading", is_reading, METH_NOARGS, "is_reading($self, /)\n--\n\nWhether it is neither paused nor closing."},
    {"set_write_buffer_limits", function(set_write_buffer_limits), METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\nWhen the protocol's pause_writing and resume_writing are called."},
    {"get_write_buffer_limits", get_write_buffer_limits, METH_NOARGS, "get_write_buffer_limits($self, /)\n--\n\nThe low and the high one."},
    {"get_write_buffer_size", get_write_buffer_size, METH_NOARGS, "get_write_buffer_size($self, /)\n--\n\nBytes that wait, headers included."},
    {"set_protocol", set_protocol, METH_O, "set_protocol($self, protocol, /)\n--\n\nWho is told from now on."},
    {"get_protocol", get_protocol, METH_NOARGS, "get_protocol($self, /)\n--\n\nWho is told."},
    {nullptr, nullptr, 0, nullptr}};

// What code that knows asyncio's own transports looks at.
PyGetSetDef attributes[] = {{"_sock", get_sock, nullptr, nullptr, nullptr},       {"_sock_fd", get_fd, nullptr, nullptr, nullptr},
                            {"_loop", get_loop, nullptr, nullptr, nullptr},       {"_protocol", get_protocol_attribute, nullptr, nullptr, nullptr},
                            {"_address", get_address, nullptr, nullptr, nullptr}, {"_closing", get_closing, nullptr, nullptr, nullptr},
                            {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {{"__dictoffset__", T_PYSSIZET, offsetof(DatagramHead, dict), READONLY, nullptr},
                         {"__weaklistoffset__", T_PYSSIZET, offsetof(DatagramHead, weak_references), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, slot(new_datagram)},  {Py_tp_init, slot(init)},
                       {Py_tp_dealloc, slot(dealloc)},   {Py_tp_finalize, slot(finalize)},
                       {Py_tp_traverse, slot(traverse)}, {Py_tp_clear, slot(clear)},    {Py_tp_repr, slot(repr)},
                       {Py_tp_methods, methods},        {Py_tp_getset, attributes},     {Py_tp_members, members},
                       {0, nullptr}};

PyType_Spec spec{"_erlang_loop.DatagramTransport", sizeof(DatagramObject), 0,
                 static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC), slots};  // not immutable: its base is not

}  // namespace

bool make_datagram_type(const Gil& gil, State& state, PyObject* module) {
  const Ref base = attribute(gil, "asyncio", "DatagramTransport");
  const Ref stream = attribute(gil, "asyncio", "Transport");  // as asyncio's own one
  if (!base || !stream) return false;
  const auto* type = reinterpret_cast<PyTypeObject*>(base.get());
  if (type->tp_basicsize > static_cast<Py_ssize_t>(offsetof(DatagramHead, dict)) || type->tp_dictoffset != 0 || type->tp_weaklistoffset != 0) {
    PyErr_SetString(PyExc_ImportError, "asyncio.DatagramTransport has more slots than this version of py_port knows");
    return false;
  }
  const Ref bases = Ref::steal(PyTuple_Pack(2, base.get(), stream.get()));
  if (!bases) return false;
  state.datagram = Ref::steal(PyType_FromModuleAndSpec(module, &spec, bases.get()));
  return state.datagram && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(state.datagram.get())) == 0;
}

}  // namespace pyw::aio
