#include "aio/reader_buffer.hpp"

#include "aio/raised.hpp"

namespace pyw::aio {

ReaderBuffer::ReaderBuffer(const Gil&, const State& state, PyObject* protocol, std::size_t room) : state_(state), room_(room) {
  if (find(state, protocol)) {
    before_ = PyByteArray_GET_SIZE(buffer_.get());
    if (PyByteArray_Resize(buffer_.get(), before_ + static_cast<Py_ssize_t>(room)) == 0) return;
  }
  buffer_.reset();
  // What else was raised will be raised again when the protocol gets the data.
  if (PyErr_Occurred() && !ends_the_run()) PyErr_Clear();
}

bool ReaderBuffer::find(const State& state, PyObject* protocol) {
  reader_ = Ref::steal(PyObject_CallOneArg(state.reader_behind.get(), protocol));
  if (!reader_ || reader_.get() == Py_None) return false;
  buffer_ = Ref::steal(PyObject_GetAttr(reader_.get(), state.s_buffer.get()));
  return buffer_ && PyByteArray_CheckExact(buffer_.get());
}

bool ReaderBuffer::fed(const Gil&) { return static_cast<bool>(Ref::steal(PyObject_CallOneArg(state_.was_fed.get(), reader_.get()))); }

}  // namespace pyw::aio
