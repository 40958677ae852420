// The Python types `_erlang_loop.ReadPipeTransport` and `WritePipeTransport`.

#include <sys/stat.h>

#include "aio/members.hpp"
#include "aio/module.hpp"
#include "aio/read_pipe.hpp"
#include "aio/slots.hpp"
#include "aio/write_pipe.hpp"

namespace pyw::aio {
namespace {

PipeObject* as_object(PyObject* self) { return reinterpret_cast<PipeObject*>(self); }
PipeEnd& of(PyObject* self) { return pipe_end_in(self); }
ReadPipe& reader(PyObject* self) { return static_cast<ReadPipe&>(of(self)); }
WritePipe& writer(PyObject* self) { return static_cast<WritePipe&>(of(self)); }

// What both have ---------------------------------------------------------------------------------------------------------

PyObject* close(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).close(gil));
}
PyObject* force_close(PyObject* self, PyObject* args) {
  const GilHeld gil;
  PyObject* exception = Py_None;
  if (!PyArg_ParseTuple(args, "|O:_close", &exception)) return nullptr;
  return none_if(of(self).force_close(gil, exception));
}
PyObject* fatal_error(PyObject* self, PyObject* args) {
  const GilHeld gil;
  PyObject* exception = nullptr;
  const char* message = "Fatal error on pipe transport";
  if (!PyArg_ParseTuple(args, "O|s:_fatal_error", &exception, &message)) return nullptr;
  return none_if(of(self).fatal(gil, exception, message));
}
PyObject* is_closing(PyObject* self, PyObject*) { return PyBool_FromLong(of(self).is_closing()); }
PyObject* get_protocol(PyObject* self, PyObject*) { return shared_or_none(of(self).protocol()); }
PyObject* set_protocol(PyObject* self, PyObject* protocol) {
  const GilHeld gil;
  of(self).set_protocol(Ref::share(gil, protocol));
  Py_RETURN_NONE;
}

PyObject* get_extra(PyObject* self, void*) { return shared_or_none(of(self).extra()); }
PyObject* get_loop(PyObject* self, void*) { return shared_or_none(of(self).loop_object()); }
PyObject* get_pipe(PyObject* self, void*) { return shared_or_none(of(self).pipe()); }
/// asyncio's own test does this to one whose loop has closed: nothing is left to warn of.
int set_pipe(PyObject* self, PyObject* value, void*) {
  if (value != Py_None) {
    PyErr_SetString(PyExc_AttributeError, "_pipe can only be set to None");
    return -1;
  }
  of(self).give_up_pipe();
  return 0;
}
PyObject* get_protocol_attribute(PyObject* self, void*) { return shared_or_none(of(self).protocol()); }
PyObject* get_fileno(PyObject* self, void*) { return PyLong_FromLong(of(self).fd()); }
PyObject* get_closing(PyObject* self, void*) { return PyBool_FromLong(of(self).is_closing()); }

PyObject* repr(PyObject* self) {
  const PipeEnd& pipe = of(self);
  return PyUnicode_FromFormat("<%s%s fd=%d%s%s>", Py_TYPE(self)->tp_name, !pipe.is_open() ? " closed" : pipe.is_closing() ? " closing" : "", pipe.fd(),
                              pipe.is_open() ? " open" : "", pipe.is_open() ? pipe.activity() : "");
}

/// Everything is done by __new__; asyncio's __init__ would fill slots that nobody reads.
int init(PyObject*, PyObject*, PyObject*) { return 0; }

void finalize(PyObject* self) {
  const GilHeld gil;
  if (as_object(self)->end && of(self).is_open()) of(self).finalize(gil);
}

void dealloc(PyObject* self) {
  if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (as_object(self)->weak_references) PyObject_ClearWeakRefs(self);
  delete std::exchange(as_object(self)->end, nullptr);
  Py_CLEAR(as_object(self)->dict);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_object(self)->dict);
  return as_object(self)->end ? of(self).traverse(visit, arg) : 0;
}

int clear(PyObject* self) {
  Py_CLEAR(as_object(self)->dict);
  if (as_object(self)->end) of(self).clear_references();
  return 0;
}

PyMemberDef members[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(PipeObject, weak_references), READONLY, nullptr},
                         {"__dictoffset__", T_PYSSIZET, offsetof(PipeObject, dict), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

/// What a descriptor is open on. 0: OSError is pending.
mode_t kind_of(int fd) {
  struct stat what;
  if (::fstat(fd, &what) == 0) return what.st_mode & S_IFMT;
  PyErr_SetFromErrno(PyExc_OSError);
  return 0;
}

// (loop, pipe, protocol, waiter, extra)
template <class End>
PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  const GilHeld gil;
  PyObject *loop, *pipe, *protocol, *waiter, *extra;
  if (!PyArg_ParseTuple(args, "OOOOO", &loop, &pipe, &protocol, &waiter, &extra)) return nullptr;
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
  const int fd = PyObject_AsFileDescriptor(pipe);
  const mode_t kind = fd < 0 ? 0 : kind_of(fd);
  if (kind == 0) return nullptr;
  if (kind != S_IFIFO && kind != S_IFSOCK && kind != S_IFCHR) {
    PyErr_SetString(PyExc_ValueError, "Pipe transport is only for pipes, sockets and character devices");
    return nullptr;
  }
  Ref context = Ref::steal(PyContext_CopyCurrent());
  Ref known = Ref::steal(extra == Py_None ? PyDict_New() : PyDict_Copy(extra));
  if (!context || !known || PyDict_SetItemString(known.get(), "pipe", pipe) != 0) return nullptr;
  Ref self = Ref::steal(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  auto end = std::make_unique<End>(gil, self.get(),
                                   PipeEnd::Parts{Ref::share(gil, loop), Ref::share(gil, pipe), Ref::share(gil, protocol),
                                                  waiter == Py_None ? Ref() : Ref::share(gil, waiter), std::move(known), fd},
                                   std::move(context));
  if constexpr (std::is_same_v<End, WritePipe>) end->expect_hang_up(kind != S_IFCHR);
  if (!end->begin(gil)) return nullptr;  // the pipe stays the caller's
  as_object(self.get())->end = end.release();
  return self.release();
}

// Reading ---------------------------------------------------------------------------------------------------------------

PyObject* pause_reading(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(reader(self).pause(gil));
}
PyObject* resume_reading(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(reader(self).resume(gil));
}
PyObject* is_reading(PyObject* self, PyObject*) { return PyBool_FromLong(reader(self).is_reading()); }
PyObject* get_paused(PyObject* self, void*) { return PyBool_FromLong(reader(self).is_paused()); }

PyMethodDef read_methods[] = {
    {"close", close, METH_NOARGS, "close($self, /)\n--\n\nNothing more is read."},
    {"is_closing", is_closing, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closed or about to be."},
    {"is_reading", is_reading, METH_NOARGS, "is_reading($self, /)\n--\n\nWhether data is received."},
    {"pause_reading", pause_reading, METH_NOARGS, "pause_reading($self, /)\n--\n\nNo data is received until resume_reading()."},
    {"resume_reading", resume_reading, METH_NOARGS, "resume_reading($self, /)\n--\n\nData is received again."},
    {"set_protocol", set_protocol, METH_O, "set_protocol($self, protocol, /)\n--\n\nGives it another protocol."},
    {"get_protocol", get_protocol, METH_NOARGS, "get_protocol($self, /)\n--\n\nThe protocol; None when the connection is lost."},
    {"_close", force_close, METH_VARARGS, nullptr},
    {"_fatal_error", fatal_error, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef read_attributes[] = {{"_extra", get_extra, nullptr, nullptr, nullptr},
                                 {"_loop", get_loop, nullptr, nullptr, nullptr},
                                 {"_pipe", get_pipe, set_pipe, nullptr, nullptr},
                                 {"_fileno", get_fileno, nullptr, nullptr, nullptr},
                                 {"_protocol", get_protocol_attribute, nullptr, nullptr, nullptr},
                                 {"_closing", get_closing, nullptr, nullptr, nullptr},
                                 {"_paused", get_paused, nullptr, nullptr, nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot read_slots[] = {{Py_tp_new, slot(make<ReadPipe>)}, {Py_tp_init, slot(init)},   {Py_tp_finalize, slot(finalize)},
                            {Py_tp_dealloc, slot(dealloc)},    {Py_tp_traverse, slot(traverse)}, {Py_tp_clear, slot(clear)},
                            {Py_tp_repr, slot(repr)},          {Py_tp_methods, read_methods},    {Py_tp_getset, read_attributes},
                            {Py_tp_members, members},          {0, nullptr}};

// Writing ---------------------------------------------------------------------------------------------------------------

PyObject* write(PyObject* self, PyObject* data) {
  const GilHeld gil;
  return none_if(writer(self).write(gil, data));
}
PyObject* write_lines(PyObject* self, PyObject* lines) {
  const GilHeld gil;
  return none_if(writer(self).write_lines(gil, lines));
}
PyObject* can_write_eof(PyObject*, PyObject*) { Py_RETURN_TRUE; }
PyObject* abort(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).force_close(gil, Py_None));
}
PyObject* get_write_buffer_size(PyObject* self, PyObject*) { return PyLong_FromSize_t(writer(self).queued()); }
PyObject* get_write_buffer_limits(PyObject* self, PyObject*) { return as_python(writer(self).marks()); }
PyObject* set_write_buffer_limits(PyObject* self, PyObject* args, PyObject* kwargs) {
  const GilHeld gil;
  WaterMarks marks;
  return none_if(parse_water_marks(args, kwargs, marks) && writer(self).set_marks(gil, marks));
}
PyObject* get_protocol_paused(PyObject* self, void*) { return PyBool_FromLong(writer(self).protocol_paused()); }

PyMethodDef write_methods[] = {
    {"write", write, METH_O, "write($self, data, /)\n--\n\nSends bytes; never blocks."},
    {"writelines", write_lines, METH_O, "writelines($self, list_of_data, /)\n--\n\nSends several pieces."},
    {"write_eof", close, METH_NOARGS, "write_eof($self, /)\n--\n\nThe same as close(): a pipe has one direction."},
    {"can_write_eof", can_write_eof, METH_NOARGS, "can_write_eof($self, /)\n--\n\nTrue."},
    {"close", close, METH_NOARGS, "close($self, /)\n--\n\nCloses when all has been sent."},
    {"abort", abort, METH_NOARGS, "abort($self, /)\n--\n\nCloses now; what has not been sent is dropped."},
    {"is_closing", is_closing, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closed or about to be."},
    {"set_protocol", set_protocol, METH_O, "set_protocol($self, protocol, /)\n--\n\nGives it another protocol."},
    {"get_protocol", get_protocol, METH_NOARGS, "get_protocol($self, /)\n--\n\nThe protocol; None when the connection is lost."},
    {"get_write_buffer_size", get_write_buffer_size, METH_NOARGS, "get_write_buffer_size($self, /)\n--\n\nBytes that wait."},
    {"get_write_buffer_limits", get_write_buffer_limits, METH_NOARGS, "get_write_buffer_limits($self, /)\n--\n\n(low, high) in bytes."},
    {"set_write_buffer_limits", reinterpret_cast<PyCFunction>(slot(set_write_buffer_limits)), METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits($self, high=None, low=None)\n--\n\nWhen the protocol is told to pause and to go on, in bytes."},
    {"_close", force_close, METH_VARARGS, nullptr},
    {"_fatal_error", fatal_error, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef write_attributes[] = {{"_extra", get_extra, nullptr, nullptr, nullptr},
                                  {"_loop", get_loop, nullptr, nullptr, nullptr},
                                  {"_pipe", get_pipe, set_pipe, nullptr, nullptr},
                                  {"_fileno", get_fileno, nullptr, nullptr, nullptr},
                                  {"_protocol", get_protocol_attribute, nullptr, nullptr, nullptr},
                                  {"_protocol_paused", get_protocol_paused, nullptr, nullptr, nullptr},
                                  {"_closing", get_closing, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot write_slots[] = {{Py_tp_new, slot(make<WritePipe>)}, {Py_tp_init, slot(init)},   {Py_tp_finalize, slot(finalize)},
                             {Py_tp_dealloc, slot(dealloc)},     {Py_tp_traverse, slot(traverse)}, {Py_tp_clear, slot(clear)},
                             {Py_tp_repr, slot(repr)},           {Py_tp_methods, write_methods},   {Py_tp_getset, write_attributes},
                             {Py_tp_members, members},           {0, nullptr}};

bool add_type(const Gil& gil, PyObject* module, const char* name, PyType_Slot* slots, const char* base_name) {
  PyType_Spec spec{name, sizeof(PipeObject), 0, static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC), slots};
  const Ref base = attribute(gil, "asyncio.transports", base_name);
  if (!base) return false;
  if (reinterpret_cast<PyTypeObject*>(base.get())->tp_basicsize > static_cast<Py_ssize_t>(offsetof(PipeObject, weak_references))) {
    PyErr_SetString(PyExc_ImportError, "asyncio's transports have more slots than this version of py_port knows");
    return false;
  }
  const Ref bases = Ref::steal(PyTuple_Pack(1, base.get()));
  const Ref type = bases ? Ref::steal(PyType_FromModuleAndSpec(module, &spec, bases.get())) : Ref();
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace

bool make_pipe_types(const Gil& gil, State&, PyObject* module) {
  return add_type(gil, module, "_erlang_loop.ReadPipeTransport", read_slots, "ReadTransport") &&
         add_type(gil, module, "_erlang_loop.WritePipeTransport", write_slots, "_FlowControlMixin");
}

}  // namespace pyw::aio
