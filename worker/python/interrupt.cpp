#include "python/interrupt.hpp"

#include <pthread.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "python/compat.hpp"
#include "python/ref.hpp"

namespace pyw {
namespace {

bool is_in(PyFrameObject* frame, const char* function, int lines_after = 0) {
  const Ref code = Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  const auto* known = reinterpret_cast<PyCodeObject*>(code.get());
  return PyUnicode_CompareWithASCIIString(known->co_name, function) == 0 && PyFrame_GetLineNumber(frame) >= known->co_firstlineno + lines_after;
}

/// asyncio's Handle._run has come to the line in which it calls. What stands there has no frame of Python's own: it is C code, which may block.
bool calls_a_handle(PyFrameObject* frame) {
  constexpr int kLinesBefore = 2;  // `def` and `try`
  return is_in(frame, "_run", kLinesBefore);
}

/// Whether the line of Python that an exception would come out of now must not be broken off.
/// It belongs to the works of asyncio's own loops: what they have taken out of a queue there and not called yet would be lost, and a task that
/// waits for it could not even be cancelled. The waiting itself is done by `selectors`, and what they call is somebody else's.
/// Or it begins a thread: one that is listed and never begun would be listed for ever. There too others do the waiting.
bool must_be_whole(const Gil&) {
  PyFrameObject* const top = PyEval_GetFrame();  // borrowed
  auto* frame = reinterpret_cast<PyObject*>(top);
  const Ref globals = Ref::steal(frame ? PyObject_GetAttrString(frame, "f_globals") : nullptr);
  PyObject* name = globals && PyDict_Check(globals.get()) ? PyDict_GetItemString(globals.get(), "__name__") : nullptr;  // borrowed
  const char* text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : nullptr;
  PyErr_Clear();
  if (!text) return false;
  const std::string_view module = text;
  if (module == "threading") return is_in(top, "start");
  if (module == "asyncio.events" && calls_a_handle(top)) return false;
  constexpr std::string_view kWorks[] = {"asyncio.base_events", "asyncio.events", "asyncio.runners", "asyncio.selector_events", "asyncio.unix_events"};
  return std::find(std::begin(kWorks), std::end(kWorks), module) != std::end(kWorks);
}

}  // namespace

bool comes_of_interrupt(const Gil& gil) {
  if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) return true;
  PyObject* const raised = compat::take_raised();
  bool found = false;
  constexpr int kLongest = 100;  // a chain may be made into a circle
  Ref one = Ref::share(gil, raised);
  for (int i = 0; i < kLongest && one && !found; ++i) {
    one = Ref::steal(PyException_GetContext(one.get()));
    found = one && PyErr_GivenExceptionMatches(one.get(), PyExc_KeyboardInterrupt);
  }
  compat::restore_raised(raised);
  return found;
}

namespace {

PyObject* handle_signal(PyObject* capsule, PyObject*) {
  const GilHeld gil;
  auto* point = static_cast<InterruptPoint*>(PyCapsule_GetPointer(capsule, nullptr));
  if (!point || !point->on_signal(gil)) return nullptr;
  Py_RETURN_NONE;
}

/// sys.unraisablehook: what Python tells it of everything but an interrupt of ours goes where it always went.
PyObject* handle_unraisable(PyObject* capsule, PyObject* unraisable) {
  const GilHeld gil;
  auto* point = static_cast<InterruptPoint*>(PyCapsule_GetPointer(capsule, nullptr));
  const Ref type = Ref::steal(point ? PyObject_GetAttrString(unraisable, "exc_type") : nullptr);
  if (!type) return nullptr;
  if (type.get() == PyExc_KeyboardInterrupt && point->lost(gil)) Py_RETURN_NONE;
  PyObject* usual = PySys_GetObject("__unraisablehook__");  // borrowed
  return usual ? PyObject_CallOneArg(usual, unraisable) : Ref::share(gil, Py_None).release();
}

PyMethodDef unraisable_definition = {"unraisable", handle_unraisable, METH_O, nullptr};
PyMethodDef handler_definition = {"interrupt_request", handle_signal, METH_VARARGS, nullptr};

}  // namespace

bool InterruptPoint::install(const Gil&) {
  main_thread_ = ::pthread_self();
  const Ref capsule = Ref::steal(PyCapsule_New(this, nullptr, nullptr));
  const Ref handler = Ref::steal(capsule ? PyCFunction_New(&handler_definition, capsule.get()) : nullptr);
  const Ref module = Ref::steal(handler ? PyImport_ImportModule("_signal") : nullptr);  // not `signal`: that one imports enum
  const Ref usual = Ref::steal(module ? PyObject_GetAttrString(module.get(), "default_int_handler") : nullptr);
  const Ref hook = Ref::steal(usual ? PyCFunction_New(&unraisable_definition, capsule.get()) : nullptr);
  return hook && PySys_SetObject("unraisablehook", hook.get()) == 0 && Ref::steal(PyObject_CallMethod(module.get(), "signal", "iO", signal(), handler.get())) &&
         Ref::steal(PyObject_CallMethod(module.get(), "signal", "iO", SIGINT, usual.get()));
}

void InterruptPoint::send() { ::pthread_kill(main_thread_, signal()); }

bool InterruptPoint::on_signal(const Gil& gil) {
  held_ = holds_ != 0;
  if (held_) return true;
  if (must_be_whole(gil)) return send(), true;  // and so on at every turn, until it is somebody else's
  std::uint64_t id = session_.running();
  if (innermost_) id = innermost_(innermost_arg_, id);
  const auto why = session_.take_interrupt(id);
  if (why == session::Interrupt::none) return true;  // what it was meant for has ended, or waits for what is above it
  // Code that catches its interrupt and goes on never asks.
  if (fired_.size() > session::Session::kMaxNesting) fired_.erase(fired_.begin());
  fired_.emplace_back(id, why);
  PyErr_SetNone(PyExc_KeyboardInterrupt);
  return false;
}

bool InterruptPoint::lost(const Gil&) {
  if (fired_.empty() || !::pthread_equal(::pthread_self(), main_thread_)) return false;
  const auto [id, why] = fired_.back();
  fired_.pop_back();
  session_.interrupt_again(id, why);
  return true;
}

session::Interrupt InterruptPoint::take_fired(const Gil& gil, std::uint64_t id) {
  const auto why = take_note(gil, id);
  return why != session::Interrupt::none && comes_of_interrupt(gil) ? why : session::Interrupt::none;
}

session::Interrupt InterruptPoint::take_note(const Gil&, std::uint64_t id) {
  const auto found = std::find_if(fired_.rbegin(), fired_.rend(), [id](const auto& one) { return one.first == id; });
  if (found == fired_.rend()) return session::Interrupt::none;
  const auto why = found->second;
  std::erase_if(fired_, [id](const auto& one) { return one.first == id; });
  return why;
}

}  // namespace pyw
