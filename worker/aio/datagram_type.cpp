// The Python type `_erlang_loop.DatagramTransport`.

#include <new>

#include "aio/datagram.hpp"

namespace pyw::aio {
namespace {

using Our = Methods<datagram_in>;

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

void finalize(PyObject* self) {
  const GilHeld gil;
  datagram_in(self).finalize(gil);
}

PyObject* repr(PyObject* self) {
  const Datagram& datagram = datagram_in(self);
  const char* state = !datagram.sock() ? "closed " : datagram.is_closing() ? "closing " : "";
  return PyUnicode_FromFormat("<%s %sfd=%d read=%s write=<%s, bufsize=%zu>>", Py_TYPE(self)->tp_name, state, datagram.fd(),
                              datagram.is_watching() ? "polling" : "idle", datagram.is_writing() ? "polling" : "idle", datagram.write_buffer_size());
}

/// (data, addr=None), positional or by keyword; what is not given stays. False: TypeError is pending.
bool what_and_where(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PyObject* (&places)[2]) {
  static const char* const names[] = {"data", "addr"};
  if (nargs > 2) {
    PyErr_Format(PyExc_TypeError, "sendto() takes at most 2 arguments (%zd given)", nargs);
    return false;
  }
  for (Py_ssize_t i = 0; i < nargs; ++i) places[i] = args[i];
  for (Py_ssize_t i = 0; kwnames && i < PyTuple_GET_SIZE(kwnames); ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, i);
    Py_ssize_t at = 0;
    while (at < 2 && PyUnicode_CompareWithASCIIString(name, names[at]) != 0) ++at;
    if (at == 2 || at < nargs) {
      PyErr_Format(PyExc_TypeError, "sendto() got an unexpected keyword argument %R", name);
      return false;
    }
    places[at] = args[nargs + i];
  }
  if (!places[0]) PyErr_SetString(PyExc_TypeError, "sendto() needs data");
  return places[0] != nullptr;
}

PyObject* sendto(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const GilHeld gil;
  PyObject* given[2] = {nullptr, Py_None};
  if (!what_and_where(args, nargs, kwnames, given)) return nullptr;
  return none_if(datagram_in(self).sendto(gil, given[0], given[1]));
}

PyMethodDef methods[] = {
    {"sendto", function(sendto), METH_FASTCALL | METH_KEYWORDS,
     "sendto($self, /, data, addr=None)\n--\n\nSends a datagram, now or as soon as the socket takes it."},
    {"close", Our::call<&Datagram::close>, METH_NOARGS, "close($self, /)\n--\n\nSends what is in the buffer and closes."},
    {"abort", Our::call<&Datagram::abort>, METH_NOARGS, "abort($self, /)\n--\n\nCloses at once."},
    {"is_closing", Our::ask<&Datagram::is_closing>, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closing or closed."},
    {"pause_reading", Our::call<&Datagram::pause_reading>, METH_NOARGS,
     "pause_reading($self, /)\n--\n\nNo datagram_received until resume_reading()."},
    {"resume_reading", Our::call<&Datagram::resume_reading>, METH_NOARGS, "resume_reading($self, /)\n--\n\nEnds a pause."},
    {"is_reading", Our::ask<&Datagram::is_reading>, METH_NOARGS, "is_reading($self, /)\n--\n\nWhether it is neither paused nor closing."},
    {"set_write_buffer_limits", function(Our::set_write_buffer_limits), METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\nWhen the protocol's pause_writing and resume_writing are called."},
    {"get_write_buffer_limits", Our::ask<&Datagram::marks>, METH_NOARGS, "get_write_buffer_limits($self, /)\n--\n\nThe low and the high one."},
    {"get_write_buffer_size", Our::ask<&Datagram::write_buffer_size>, METH_NOARGS,
     "get_write_buffer_size($self, /)\n--\n\nBytes that wait, headers included."},
    {"set_protocol", function(named<Our::set_protocol, "protocol">), METH_FASTCALL | METH_KEYWORDS, "set_protocol($self, protocol)\n--\n\nWho is told from now on."},
    {"get_protocol", Our::ask<&Datagram::protocol>, METH_NOARGS, "get_protocol($self, /)\n--\n\nWho is told."},
    {nullptr, nullptr, 0, nullptr}};

// What code that knows asyncio's own transports looks at.
PyGetSetDef attributes[] = {{"_sock", Our::get<&Datagram::sock>, nullptr, nullptr, nullptr},
                            {"_sock_fd", Our::get<&Datagram::fd>, nullptr, nullptr, nullptr},
                            {"_loop", Our::get<&Datagram::loop_object>, nullptr, nullptr, nullptr},
                            {"_protocol", Our::get<&Datagram::protocol>, nullptr, nullptr, nullptr},
                            {"_address", Our::get<&Datagram::address>, nullptr, nullptr, nullptr},
                            {"_closing", Our::get<&Datagram::is_closing>, nullptr, nullptr, nullptr},
                            {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, slot(new_datagram)},
                       {Py_tp_init, slot(init_nothing)},
                       {Py_tp_finalize, slot(finalize)},
                       {Py_tp_dealloc, slot(Life<DatagramObject>::dealloc)},
                       {Py_tp_traverse, slot(Life<DatagramObject>::traverse)},
                       {Py_tp_clear, slot(Life<DatagramObject>::clear)},
                       {Py_tp_repr, slot(repr)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, attributes},
                       {Py_tp_members, DatagramObject::members()},
                       {0, nullptr}};

}  // namespace

bool make_datagram_type(const Gil& gil, State& state, PyObject* module) {
  const Ref base = attribute(gil, "asyncio", "DatagramTransport");
  const Ref stream = base ? attribute(gil, "asyncio", "Transport") : Ref();  // as asyncio's own one
  const Ref bases = Ref::steal(stream ? PyTuple_Pack(2, base.get(), stream.get()) : nullptr);
  state.datagram = add_type<DatagramObject>(gil, module, "_erlang_loop.DatagramTransport", slots, bases);
  return static_cast<bool>(state.datagram);
}

}  // namespace pyw::aio
