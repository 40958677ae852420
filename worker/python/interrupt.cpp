#include "python/interrupt.hpp"

#include <pthread.h>

#include "python/ref.hpp"

namespace pyw {
namespace {

PyObject* handle_signal(PyObject* capsule, PyObject*) {
  const GilHeld gil;
  auto* point = static_cast<InterruptPoint*>(PyCapsule_GetPointer(capsule, nullptr));
  if (!point || !point->on_signal(gil)) return nullptr;
  Py_RETURN_NONE;
}

PyMethodDef handler_definition = {"interrupt_request", handle_signal, METH_VARARGS, nullptr};

}  // namespace

bool InterruptPoint::install(const Gil&) {
  main_thread_ = ::pthread_self();
  const Ref capsule = Ref::steal(PyCapsule_New(this, nullptr, nullptr));
  const Ref handler = Ref::steal(capsule ? PyCFunction_New(&handler_definition, capsule.get()) : nullptr);
  const Ref module = Ref::steal(handler ? PyImport_ImportModule("_signal") : nullptr);  // not `signal`: that one imports enum
  const Ref usual = Ref::steal(module ? PyObject_GetAttrString(module.get(), "default_int_handler") : nullptr);
  return usual && Ref::steal(PyObject_CallMethod(module.get(), "signal", "iO", signal(), handler.get())) &&
         Ref::steal(PyObject_CallMethod(module.get(), "signal", "iO", SIGINT, usual.get()));
}

void InterruptPoint::send() { ::pthread_kill(main_thread_, signal()); }

bool InterruptPoint::on_signal(const Gil&) {
  std::uint64_t id = session_.running();
  if (innermost_) id = innermost_(innermost_arg_, id);
  const auto why = session_.take_interrupt(id);
  if (why == session::Interrupt::none) return true;  // what it was meant for has ended, or waits for something nested in it
  fired_ = why;
  fired_for_ = id;
  PyErr_SetNone(PyExc_KeyboardInterrupt);
  return false;
}

session::Interrupt InterruptPoint::take_fired(const Gil&, std::uint64_t id) {
  if (fired_for_ != id || id == 0) return session::Interrupt::none;
  fired_for_ = 0;
  const auto why = std::exchange(fired_, session::Interrupt::none);
  return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ? why : session::Interrupt::none;
}

}  // namespace pyw
