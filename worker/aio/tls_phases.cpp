// Tls: the life of a connection. Handshake, shutdown, timeouts, end of the stream, failures.

#include "aio/tls_protocol.hpp"
#include "aio/raised.hpp"
#include "aio/tls_transport.hpp"

namespace pyw::aio {
namespace {

Ref call_method(PyObject* object, const Ref& name, PyObject* argument = nullptr) {
  PyObject* args[2] = {object, argument};
  return Ref::steal(PyObject_VectorcallMethod(name.get(), args, (argument ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
}

PyObject* or_none(PyObject* object) { return object ? object : Py_None; }

}  // namespace

const char* Tls::name_of(Phase phase) {
  switch (phase) {
    case Phase::kUnwrapped: return "UNWRAPPED";
    case Phase::kHandshake: return "DO_HANDSHAKE";
    case Phase::kWrapped: return "WRAPPED";
    case Phase::kFlushing: return "FLUSHING";
    case Phase::kShutdown: return "SHUTDOWN";
  }
  return "";
}

bool Tls::open(const Gil& gil, Parts parts, PyObject* app_protocol) {
  loop_ = std::move(parts.loop);
  sslcontext_ = std::move(parts.sslcontext);
  sslobj_ = std::move(parts.sslobj);
  incoming_ = std::move(parts.incoming);
  outgoing_ = std::move(parts.outgoing);
  waiter_ = std::move(parts.waiter);
  extra_ = std::move(parts.extra);
  handshake_timeout_ = std::move(parts.handshake_timeout);
  shutdown_timeout_ = std::move(parts.shutdown_timeout);
  context_ = std::move(parts.context);
  app_ = parts.call_connection_made ? App::kInit : App::kMade;
  // An SSLObject only passes reads and writes on to the object of C within. One of a class that derives from it may do more.
  Ref engine = Ref::share(gil, sslobj_.get());
  derived_ = Py_TYPE(sslobj_.get()) != reinterpret_cast<PyTypeObject*>(state_.ssl_object.get());
  if (!derived_) {
    if (Ref inner = Ref::steal(PyObject_GetAttrString(sslobj_.get(), "_sslobj")))
      engine = std::move(inner);
    else
      return false;
  }
  decrypt_ = Ref::steal(PyObject_GetAttr(engine.get(), state_.s_read.get()));
  if (decrypt_) encrypt_ = Ref::steal(PyObject_GetAttr(engine.get(), state_.s_write.get()));
  if (encrypt_) take_in_ = Ref::steal(PyObject_GetAttr(incoming_.get(), state_.s_write.get()));
  if (take_in_) take_out_ = Ref::steal(PyObject_GetAttr(outgoing_.get(), state_.s_read.get()));
  if (!take_out_ || !set_app_protocol(gil, app_protocol)) return false;
  app_transport_ = Ref::steal(new_tls_transport(gil, state_, object_));
  return static_cast<bool>(app_transport_);
}

bool Tls::set_app_protocol(const Gil& gil, PyObject* protocol) {
  const int buffered = wants_buffers(gil, state_.buffered_protocol, protocol);
  if (buffered < 0) return false;
  app_buffered_ = buffered != 0;
  app_protocol_ = Ref::share(gil, protocol);
  return true;
}

bool Tls::set_phase(Phase next) {
  const bool allowed = next == Phase::kUnwrapped || static_cast<int>(next) == static_cast<int>(phase_) + 1;
  if (allowed)
    phase_ = next;
  else
    PyErr_Format(PyExc_RuntimeError, "cannot switch state from SSLProtocolState.%s to SSLProtocolState.%s", name_of(phase_), name_of(next));
  return allowed;
}

void Tls::mark_app_transport_closed() {
  if (app_transport_) reinterpret_cast<TlsTransportObject*>(app_transport_.get())->closed = true;
}

bool Tls::is_app_transport_closed() const { return !app_transport_ || reinterpret_cast<TlsTransportObject*>(app_transport_.get())->closed; }

Ref Tls::start_timer(const Gil&, const Ref& seconds, const char* method) {
  const Ref callback = Ref::steal(PyObject_GetAttrString(self(), method));
  return callback ? Ref::steal(PyObject_CallMethod(loop_.get(), "call_later", "OO", seconds.get(), callback.get())) : Ref();
}

void Tls::cancel(Ref& timer) {
  const Ref was = std::move(timer);
  if (was && !call_method(was.get(), state_.s_cancel)) PyErr_WriteUnraisable(was.get());
}

// Begin -----------------------------------------------------------------------------------------------------------------

bool Tls::connection_made(const Gil& gil, PyObject* transport) {
  transport_ = Ref::share(gil, transport);
  // These read and tell in one go; then all connections of a loop can share the buffer that is in the processor's cache.
  shared_buffer_ = false;
  for (const Ref* known : {&state_.selector_transport, &state_.asyncio_tls_transport, &state_.transport, &loop().state().stream})
    if (*known && PyObject_TypeCheck(transport, reinterpret_cast<PyTypeObject*>(known->get()))) shared_buffer_ = true;
  if (loop().debug()) {
    if (!Ref::steal(PyObject_CallMethod(state_.support.get(), "log", "sO", "%r starts SSL handshake", self()))) return false;
    handshake_began_ = Loop::now();
  }
  if (!set_phase(Phase::kHandshake)) return false;
  handshake_timer_ = start_timer(gil, handshake_timeout_, "_check_handshake_timeout");
  return handshake_timer_ && do_handshake(gil);
}

bool Tls::do_handshake(const Gil& gil) {
  if (call_method(sslobj_.get(), state_.s_do_handshake)) return handshake_complete(gil, {});
  if (PyErr_ExceptionMatches(state_.again_errors.get())) {
    PyErr_Clear();  // what the peer has to say is not here yet
    return process_outgoing(gil);
  }
  return PyErr_ExceptionMatches(state_.ssl_error.get()) && handshake_complete(gil, Ref::steal(compat::take_raised()));
}

bool Tls::handshake_complete(const Gil& gil, Ref failure) {
  cancel(handshake_timer_);
  if (failure) return handshake_failed(gil, std::move(failure));
  const Ref peercert = set_phase(Phase::kWrapped) ? call_method(sslobj_.get(), state_.s_getpeercert) : Ref();
  if (!peercert) return PyErr_ExceptionMatches(PyExc_Exception) && handshake_failed(gil, Ref::steal(compat::take_raised()));
  if (loop().debug()) {
    const double ms = handshake_began_ > 0 ? (Loop::now() - handshake_began_) * 1e3 : 0;
    if (!Ref::steal(PyObject_CallMethod(state_.support.get(), "log", "sOd", "%r: SSL handshake took %.1f ms", self(), ms))) return false;
  }
  if (!Ref::steal(PyObject_CallMethod(state_.support.get(), "add_extra", "OOO", extra_.get(), sslobj_.get(), peercert.get()))) return false;
  if (app_ == App::kInit) {
    app_ = App::kMade;
    const Ref transport = Ref::share(gil, app_transport_.get());
    if (!tell_app(gil, state_.s_connection_made, transport.get())) return false;
    return wake_waiter(gil, nullptr) && do_read(gil);
  }
  // start_tls() has no other way to tell its caller of the new transport: it must have been able to do so before the first data comes.
  return wake_waiter(gil, nullptr) && loop().soon(gil, read_chore, self());
}

bool Tls::handshake_failed(const Gil& gil, Ref failure) {
  if (transport_ && !process_outgoing(gil)) PyErr_Clear();  // the alert, which tells the peer what it was; the first failure is the one that counts
  phase_ = Phase::kUnwrapped;
  const bool verifying = PyErr_GivenExceptionMatches(failure.get(), state_.certificate_error.get());
  return fatal(gil, failure.get(), verifying ? "SSL handshake failed on verifying the certificate" : "SSL handshake failed") &&
         wake_waiter(gil, failure.get());
}

bool Tls::wake_waiter(const Gil&, PyObject* exception) {
  const Ref waiter = std::move(waiter_);
  if (!waiter) return true;
  const Ref cancelled = call_method(waiter.get(), state_.s_cancelled);
  if (!cancelled) return false;
  if (cancelled.get() == Py_True) return true;
  return static_cast<bool>(exception ? call_method(waiter.get(), state_.s_set_exception, exception)
                                     : call_method(waiter.get(), state_.s_set_result, Py_None));
}

bool Tls::check_handshake_timeout(const Gil& gil) {
  if (phase_ != Phase::kHandshake) return true;
  const Ref text = Ref::steal(
      PyUnicode_FromFormat("SSL handshake is taking longer than %S seconds: aborting the connection", handshake_timeout_.get()));
  const Ref failure = text ? Ref::steal(PyObject_CallFunctionObjArgs(PyExc_ConnectionAbortedError, text.get(), nullptr)) : Ref();
  // A transport that is over already does not tell us that it is lost.
  return failure && fatal(gil, failure.get(), "Fatal error on transport") && wake_waiter(gil, failure.get());
}

// End -------------------------------------------------------------------------------------------------------------------

bool Tls::start_shutdown(const Gil& gil) {
  if (phase_ == Phase::kUnwrapped || phase_ == Phase::kShutdown) return true;
  mark_app_transport_closed();
  if (phase_ == Phase::kHandshake) return abort(gil, nullptr);
  // The peer's end may be waiting for an application that had paused.
  if (phase_ == Phase::kFlushing) return !eof_ || reading_ > 0 || do_flush(gil);
  if (!set_phase(Phase::kFlushing)) return false;
  shutdown_timer_ = start_timer(gil, shutdown_timeout_, "_check_shutdown_timeout");
  return shutdown_timer_ && do_flush(gil);
}

bool Tls::check_shutdown_timeout(const Gil& gil) {
  if (phase_ != Phase::kFlushing && phase_ != Phase::kShutdown) return true;
  const Ref failure = Ref::steal(PyObject_CallFunction(state_.timeout_error.get(), "s", "SSL shutdown timed out"));
  return failure && force_close(gil, failure.get());
}

bool Tls::do_flush(const Gil& gil) {
  do {
    // Who has paused takes the rest when it goes on reading.
    if (eof_ && app_reading_paused_ && !is_app_transport_closed()) return true;
    read_on_ = false;
    if (!do_read(gil)) return false;
    // The application may have aborted while it was given the last data, or the peer's end was among it.
    if (phase_ != Phase::kFlushing) return true;
  } while (read_on_ && !is_app_transport_closed());
  return set_phase(Phase::kShutdown) && do_shutdown(gil);
}

/// What the peer sends after the application has closed, or what it did not read before, is in the way of the peer's goodbye.
bool Tls::discard_data(const Gil& gil) {
  for (bool more = true; more;) {
    Ref plain;
    bool ended;
    if (decrypt_all(gil, plain, ended)) {
      more = static_cast<bool>(plain) && !ended;
    } else if (PyErr_ExceptionMatches(state_.zero_return_error.get())) {
      PyErr_Clear();  // the goodbye itself, after ours
      more = false;
    } else {
      return PyErr_ExceptionMatches(state_.ssl_error.get()) && shutdown_complete(gil, Ref::steal(compat::take_raised()));
    }
  }
  return true;
}

bool Tls::do_shutdown(const Gil& gil) {
  if (!eof_ && !discard_data(gil)) return false;
  if (said_goodbye_) return true;  // what came was no TLS
  if (!eof_ && !call_method(sslobj_.get(), state_.s_unwrap)) {
    if (PyErr_ExceptionMatches(state_.again_errors.get())) {
      PyErr_Clear();  // the peer has not said goodbye yet
      return process_outgoing(gil) && control_reading(gil);
    }
    return PyErr_ExceptionMatches(state_.ssl_error.get()) && shutdown_complete(gil, Ref::steal(compat::take_raised()));
  }
  return process_outgoing(gil) && tell_eof(gil) && shutdown_complete(gil, {});
}

bool Tls::shutdown_complete(const Gil& gil, Ref failure) {
  cancel(shutdown_timer_);
  said_goodbye_ = true;
  if (failure) return fatal(gil, failure.get(), "Fatal error on transport");
  return !transport_ || loop().soon(gil, close_chore, self());
}

bool Tls::abort(const Gil& gil, PyObject* exception) {
  // What was written earlier in this turn would have left already if it did not wait for more.
  if ((flush_queued_ || reading_ > 0) && phase_ == Phase::kWrapped && transport_ && !process_outgoing(gil) && !fatal_if_exception(gil)) return false;
  phase_ = Phase::kUnwrapped;
  return force_close(gil, exception);
}

bool Tls::force_close(const Gil& gil, PyObject* exception) {
  if (!transport_) return true;
  const Ref transport = Ref::share(gil, transport_.get());
  if (call_method(transport.get(), state_.s_force_close, or_none(exception))) return true;
  // Every transport of asyncio has it, but it is no part of what a transport must have.
  if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return false;
  PyErr_Clear();
  return static_cast<bool>(call_method(transport.get(), state_.s_abort));
}

bool Tls::tell_eof(const Gil& gil) {
  if (app_ != App::kMade) return true;
  app_ = App::kEof;
  if (!app_protocol_) return true;
  const Ref keep_open = tell_app(gil, state_.s_eof_received);
  const int truth = keep_open ? PyObject_IsTrue(keep_open.get()) : -1;
  if (truth == 0) return true;
  if (truth > 0) return static_cast<bool>(Ref::steal(PyObject_CallMethod(state_.support.get(), "warn_keep_open", nullptr)));
  if (ends_the_run()) return false;
  const Ref failure = Ref::steal(compat::take_raised());
  return fatal(gil, failure.get(), "Error calling eof_received()");
}

bool Tls::eof_received(const Gil& gil, bool& keep_open) {
  eof_ = true;
  keep_open = false;
  if (eof_in_phase(gil, keep_open)) return true;
  if (!PyErr_ExceptionMatches(PyExc_Exception) || !transport_) return false;
  Ref failure = Ref::steal(compat::take_raised());
  const Ref transport = Ref::share(gil, transport_.get());
  if (!call_method(transport.get(), state_.s_close)) PyErr_WriteUnraisable(self());
  compat::restore_raised(failure.release());
  return false;
}

bool Tls::eof_in_phase(const Gil& gil, bool& keep_open) {
  if (loop().debug() && !Ref::steal(PyObject_CallMethod(state_.support.get(), "log", "sO", "%r received EOF", self()))) return false;
  switch (phase_) {
    case Phase::kHandshake: {
      Ref failure = Ref::steal(PyObject_CallNoArgs(PyExc_ConnectionResetError));
      return failure && handshake_complete(gil, std::move(failure));
    }
    case Phase::kWrapped:
      if (!set_phase(Phase::kFlushing) || !do_flush(gil)) return false;
      keep_open = phase_ == Phase::kFlushing;
      return true;
    case Phase::kFlushing: return do_write(gil) && set_phase(Phase::kShutdown) && do_shutdown(gil);
    case Phase::kShutdown: return do_shutdown(gil);
    case Phase::kUnwrapped: return true;
  }
  return true;
}

bool Tls::connection_lost(const Gil& gil, PyObject* exception) {
  drop_held();
  if (!Ref::steal(PyObject_CallNoArgs(take_out_.get()))) return false;
  ++lost_writes_;
  mark_app_transport_closed();
  const Ref app = std::move(app_protocol_), app_transport = std::move(app_transport_), transport = std::move(transport_);
  buffer_.reset();
  if (phase_ != Phase::kHandshake && (app_ == App::kMade || app_ == App::kEof) && app) {
    app_ = App::kLost;
    const Ref callback = Ref::steal(PyObject_GetAttr(app.get(), state_.s_connection_lost.get()));
    HandleObject* handle = nullptr;
    if (callback)
      handle = new_handle(gil, loop().state(), reinterpret_cast<LoopObject*>(loop_.get()), false, callback.get(), &exception, 1, context_.get());
    if (!handle) return false;
    loop().push(handle);
  }
  phase_ = Phase::kUnwrapped;
  const bool told = wake_waiter(gil, exception == Py_None ? nullptr : exception);
  cancel(shutdown_timer_);
  cancel(handshake_timer_);
  return told;
}

// Failures --------------------------------------------------------------------------------------------------------------

bool Tls::fatal(const Gil& gil, PyObject* exception, const char* message) {
  if (!force_close(gil, exception)) return false;
  const Ref told = Ref::steal(PyObject_CallMethod(state_.support.get(), "fatal", "OOOOs", loop_.get(), self(),
                                                  or_none(transport_.get()), exception, message));
  return static_cast<bool>(told);
}

/// What asyncio's `except Exception` around reads and writes does. False: it is none of those; it stays pending.
bool Tls::fatal_if_exception(const Gil& gil) {
  if (!PyErr_ExceptionMatches(PyExc_Exception)) return false;
  const Ref failure = Ref::steal(compat::take_raised());
  return fatal(gil, failure.get(), "Fatal error on SSL protocol");
}

PyObject* Tls::extra_info(const Gil& gil, PyObject* name, PyObject* missing) {
  PyObject* found = PyDict_GetItemWithError(extra_.get(), name);
  if (!found && PyErr_Occurred()) return nullptr;
  if (found || !transport_) return Ref::share(gil, found ? found : missing).release();
  PyObject* args[3] = {transport_.get(), name, missing};
  const Ref transport = Ref::share(gil, transport_.get());
  return PyObject_VectorcallMethod(state_.s_get_extra_info.get(), args, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
}

int Tls::traverse(visitproc visit, void* arg) const {
  for (const Ref* each : {&loop_, &app_protocol_, &app_transport_, &transport_, &waiter_, &context_, &sslcontext_, &extra_, &sslobj_, &incoming_,
                          &outgoing_, &decrypt_, &encrypt_, &take_in_, &take_out_, &handshake_timer_, &shutdown_timer_, &buffer_})
    if (const int stop = each->traverse(visit, arg)) return stop;
  for (const Piece& piece : held_)
    if (const int stop = piece.data.traverse(visit, arg)) return stop;
  return 0;
}

void Tls::clear() {
  // Its loop and ssl's objects stay: methods may still be called, and what could be a cycle goes through what is dropped here.
  phase_ = Phase::kUnwrapped;
  app_ = App::kLost;
  drop_held();
  for (Ref* each : {&app_protocol_, &app_transport_, &transport_, &waiter_, &context_, &handshake_timer_, &shutdown_timer_, &buffer_}) each->reset();
}

}  // namespace pyw::aio
