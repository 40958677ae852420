// The Python types `_erlang_loop.ReadPipeTransport` and `WritePipeTransport`.

#include <sys/stat.h>

#include <optional>

#include "aio/module.hpp"
#include "aio/read_pipe.hpp"
#include "aio/write_pipe.hpp"

namespace pyw::aio {
namespace {

PipeObject* as_object(PyObject* self) { return reinterpret_cast<PipeObject*>(self); }
PipeEnd& of(PyObject* self) { return pipe_end_in(self); }
ReadPipe& reader(PyObject* self) { return static_cast<ReadPipe&>(of(self)); }
WritePipe& writer(PyObject* self) { return static_cast<WritePipe&>(of(self)); }
using Either = Methods<of>;
using Reader = Methods<reader>;
using Writer = Methods<writer>;

// What both have ---------------------------------------------------------------------------------------------------------

PyObject* force_close(PyObject* self, PyObject* args) {
  const GilHeld gil;
  PyObject* exception = Py_None;
  if (!PyArg_ParseTuple(args, "|O:_close", &exception)) return nullptr;
  return none_if(of(self).force_close(gil, exception));
}

/// asyncio's own test does this to one whose loop has closed: nothing is left to warn of.
int set_pipe(PyObject* self, PyObject* value, void*) {
  if (value != Py_None) {
    PyErr_SetString(PyExc_AttributeError, "_pipe can only be set to None");
    return -1;
  }
  of(self).give_up_pipe();
  return 0;
}

PyObject* repr(PyObject* self) {
  const PipeEnd& pipe = of(self);
  return PyUnicode_FromFormat("<%s%s fd=%d%s%s>", Py_TYPE(self)->tp_name, !pipe.is_open() ? " closed" : pipe.is_closing() ? " closing" : "", pipe.fd(),
                              pipe.is_open() ? " open" : "", pipe.is_open() ? pipe.activity() : "");
}

void finalize(PyObject* self) {
  const GilHeld gil;
  if (as_object(self)->end && of(self).is_open()) of(self).finalize(gil);
}

/// What a descriptor is open on; 0 is what an eventfd is. None: OSError is pending.
std::optional<mode_t> kind_of(int fd) {
  struct stat what;
  if (::fstat(fd, &what) == 0) return what.st_mode & S_IFMT;
  PyErr_SetFromErrno(PyExc_OSError);
  return std::nullopt;
}

// (loop, pipe, protocol, waiter, extra)
template <class End>
PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  const GilHeld gil;
  PyObject *loop, *pipe, *protocol, *waiter, *extra;
  if (!PyArg_ParseTuple(args, "OOOOO", &loop, &pipe, &protocol, &waiter, &extra)) return nullptr;
  State* state = state_behind(type);
  if (!state || !is_open_loop(*state, loop) || !can_be_connected(*state, protocol)) return nullptr;
  // An int is none, though it has a number: nobody could close it.
  const Ref fileno = Ref::steal(PyObject_GetAttr(pipe, state->s_fileno.get()));
  const int fd = fileno ? PyObject_AsFileDescriptor(pipe) : -1;
  const auto kind = fd < 0 ? std::nullopt : kind_of(fd);
  if (!kind) return nullptr;
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

PyMethodDef read_methods[] = {
    {"close", Either::call<&PipeEnd::close>, METH_NOARGS, "close($self, /)\n--\n\nNothing more is read."},
    {"is_closing", Either::ask<&PipeEnd::is_closing>, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closed or about to be."},
    {"is_reading", Reader::ask<&ReadPipe::is_reading>, METH_NOARGS, "is_reading($self, /)\n--\n\nWhether data is received."},
    {"pause_reading", Reader::call<&ReadPipe::pause>, METH_NOARGS, "pause_reading($self, /)\n--\n\nNo data is received until resume_reading()."},
    {"resume_reading", Reader::call<&ReadPipe::resume>, METH_NOARGS, "resume_reading($self, /)\n--\n\nData is received again."},
    {"set_protocol", function(named<Either::set_protocol, "protocol">), METH_FASTCALL | METH_KEYWORDS,
     "set_protocol($self, protocol)\n--\n\nGives it another protocol."},
    {"get_protocol", Either::ask<&PipeEnd::protocol>, METH_NOARGS, "get_protocol($self, /)\n--\n\nThe protocol; None when the connection is lost."},
    {"_close", force_close, METH_VARARGS, nullptr},
    {"_fatal_error", Either::fatal_error, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef read_attributes[] = {{"_extra", Either::get<&PipeEnd::extra>, nullptr, nullptr, nullptr},
                                 {"_loop", Either::get<&PipeEnd::loop_object>, nullptr, nullptr, nullptr},
                                 {"_pipe", Either::get<&PipeEnd::pipe>, set_pipe, nullptr, nullptr},
                                 {"_fileno", Either::get<&PipeEnd::fd>, nullptr, nullptr, nullptr},
                                 {"_protocol", Either::get<&PipeEnd::protocol>, nullptr, nullptr, nullptr},
                                 {"_closing", Either::get<&PipeEnd::is_closing>, nullptr, nullptr, nullptr},
                                 {"_paused", Reader::get<&ReadPipe::is_paused>, nullptr, nullptr, nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot read_slots[] = {{Py_tp_new, slot(make<ReadPipe>)},
                            {Py_tp_init, slot(init_nothing)},
                            {Py_tp_finalize, slot(finalize)},
                            {Py_tp_dealloc, slot(Life<PipeObject>::dealloc)},
                            {Py_tp_traverse, slot(Life<PipeObject>::traverse)},
                            {Py_tp_clear, slot(Life<PipeObject>::clear)},
                            {Py_tp_repr, slot(repr)},
                            {Py_tp_methods, read_methods},
                            {Py_tp_getset, read_attributes},
                            {Py_tp_members, PipeObject::members()},
                            {0, nullptr}};

// Writing ---------------------------------------------------------------------------------------------------------------

PyObject* can_write_eof(PyObject*, PyObject*) { Py_RETURN_TRUE; }

PyMethodDef write_methods[] = {
    {"write", function(Writer::call_named<&WritePipe::write, "data">), METH_FASTCALL | METH_KEYWORDS, "write($self, data)\n--\n\nSends bytes; never blocks."},
    {"writelines", function(Writer::call_named<&WritePipe::write_lines, "list_of_data">), METH_FASTCALL | METH_KEYWORDS, "writelines($self, list_of_data)\n--\n\nSends several pieces."},
    {"write_eof", Either::call<&PipeEnd::close>, METH_NOARGS, "write_eof($self, /)\n--\n\nThe same as close(): a pipe has one direction."},
    {"can_write_eof", can_write_eof, METH_NOARGS, "can_write_eof($self, /)\n--\n\nTrue."},
    {"close", Either::call<&PipeEnd::close>, METH_NOARGS, "close($self, /)\n--\n\nCloses when all has been sent."},
    {"abort", Writer::call<&WritePipe::abort>, METH_NOARGS, "abort($self, /)\n--\n\nCloses now; what has not been sent is dropped."},
    {"is_closing", Either::ask<&PipeEnd::is_closing>, METH_NOARGS, "is_closing($self, /)\n--\n\nWhether it is closed or about to be."},
    {"set_protocol", function(named<Either::set_protocol, "protocol">), METH_FASTCALL | METH_KEYWORDS,
     "set_protocol($self, protocol)\n--\n\nGives it another protocol."},
    {"get_protocol", Either::ask<&PipeEnd::protocol>, METH_NOARGS, "get_protocol($self, /)\n--\n\nThe protocol; None when the connection is lost."},
    {"get_write_buffer_size", Writer::ask<&WritePipe::queued>, METH_NOARGS, "get_write_buffer_size($self, /)\n--\n\nBytes that wait."},
    {"get_write_buffer_limits", Writer::ask<&WritePipe::marks>, METH_NOARGS, "get_write_buffer_limits($self, /)\n--\n\n(low, high) in bytes."},
    {"set_write_buffer_limits", function(Writer::set_write_buffer_limits), METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits($self, high=None, low=None)\n--\n\nWhen the protocol is told to pause and to go on, in bytes."},
    {"_close", force_close, METH_VARARGS, nullptr},
    {"_fatal_error", Either::fatal_error, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef write_attributes[] = {{"_extra", Either::get<&PipeEnd::extra>, nullptr, nullptr, nullptr},
                                  {"_loop", Either::get<&PipeEnd::loop_object>, nullptr, nullptr, nullptr},
                                  {"_pipe", Either::get<&PipeEnd::pipe>, set_pipe, nullptr, nullptr},
                                  {"_fileno", Either::get<&PipeEnd::fd>, nullptr, nullptr, nullptr},
                                  {"_protocol", Either::get<&PipeEnd::protocol>, nullptr, nullptr, nullptr},
                                  {"_protocol_paused", Writer::get<&WritePipe::protocol_paused>, nullptr, nullptr, nullptr},
                                  {"_closing", Either::get<&PipeEnd::is_closing>, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot write_slots[] = {{Py_tp_new, slot(make<WritePipe>)},
                             {Py_tp_init, slot(init_nothing)},
                             {Py_tp_finalize, slot(finalize)},
                             {Py_tp_dealloc, slot(Life<PipeObject>::dealloc)},
                             {Py_tp_traverse, slot(Life<PipeObject>::traverse)},
                             {Py_tp_clear, slot(Life<PipeObject>::clear)},
                             {Py_tp_repr, slot(repr)},
                             {Py_tp_methods, write_methods},
                             {Py_tp_getset, write_attributes},
                             {Py_tp_members, PipeObject::members()},
                             {0, nullptr}};

bool add(const Gil& gil, PyObject* module, const char* name, PyType_Slot* slots, const char* base_name) {
  const Ref base = attribute(gil, "asyncio.transports", base_name);
  const Ref bases = Ref::steal(base ? PyTuple_Pack(1, base.get()) : nullptr);
  return static_cast<bool>(add_type<PipeObject>(gil, module, name, slots, bases));
}

}  // namespace

bool make_pipe_types(const Gil& gil, State&, PyObject* module) {
  return add(gil, module, "_erlang_loop.ReadPipeTransport", read_slots, "ReadTransport") &&
         add(gil, module, "_erlang_loop.WritePipeTransport", write_slots, "_FlowControlMixin");
}

}  // namespace pyw::aio
