#include "aio/listener.hpp"
#include "aio/raised.hpp"
#include "aio/slow_watch.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <optional>

#include "aio/module.hpp"
#include "aio/slots.hpp"

namespace pyw::aio {
namespace {

constexpr double kPauseSeconds = 1.0;

struct ListenerObject {
  PyObject_HEAD
  std::optional<Listener> listener;
};

Listener& of(PyObject* self) { return *reinterpret_cast<ListenerObject*>(self)->listener; }

bool used_up(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

}  // namespace

Listener::Listener(const Gil&, PyObject* object, Parts parts, Ref context)
    : object_(object),
      loop_object_(std::move(parts.loop)),
      loop_(loop_of(loop_object_.get())),
      socket_(std::move(parts.socket)),
      factory_(std::move(parts.factory)),
      server_(std::move(parts.server)),
      hand_over_(std::move(parts.hand_over)),
      context_(std::move(context)),
      backlog_(parts.backlog),
      watcher_(loop_.reactor(), this, told) {}

bool Listener::start(const Gil& gil) {
  if (stopped_) return true;  // while it paused
  fd_ = PyObject_AsFileDescriptor(socket_.get());
  if (fd_ < 0 || !use_.begin(gil, loop_.state(), socket_.get())) return false;
  if (auto watched = watcher_.watch(fd_, Watcher::kReadable); !watched) {
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
  }
  loop_.claim(fd_, object_);
  loop_.hold(gil, object_);
  return true;
}

void Listener::stop() {
  stopped_ = true;
  watcher_.close();
  if (fd_ >= 0) loop_.unclaim(std::exchange(fd_, -1), object_);
  use_.end(GilHeld(), socket_.get());
  loop_.let_go(object_);
}

bool Listener::told(void* owner, int) {
  const GilHeld gil;
  auto* self = static_cast<Listener*>(owner);
  const Ref alive = Ref::share(gil, self->object_);
  const SlowWatch watch(self->loop_, alive.get());
  return self->accept(gil);
}

bool Listener::accept(const Gil& gil) {
  for (int n = 0; (n < backlog_ || n == 0) && !stopped_; ++n) {
    SockAddress peer;
    socklen_t size = sizeof(sockaddr_un);
    UniqueFd connection(::accept4(fd_, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!connection) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return true;
      if (used_up(errno)) return pause(gil);
      PyErr_SetFromErrno(PyExc_OSError);
      return report_pending(gil, "socket.accept() failed", "socket", socket_.get());
    }
    peer.size = size;
    if (!(hand_over_ ? hand_over(gil, std::move(connection), peer) : serve(gil, std::move(connection), peer))) return false;
  }
  return true;
}

bool Listener::serve(const Gil& gil, UniqueFd connection, const SockAddress& peer) {
  // Each connection has a copy, as each would have a task of its own with asyncio: what the factory sets there is not the next one's.
  const Ref context = Ref::steal(PyContext_Copy(context_.get()));
  if (!context || PyContext_Enter(context.get()) != 0) return false;
  Ref protocol = Ref::steal(PyObject_CallNoArgs(factory_.get()));
  const bool made = protocol && make_stream(gil, loop_.state(), {Ref::share(gil, loop_object_.get()), std::move(protocol), Ref(), Ref(),
                                                                 Ref::share(gil, server_.get()), StreamSocket(std::move(connection), peer)});
  PyContext_Exit(context.get());
  return made || report_pending(gil, "Error on transport creation for incoming connection", nullptr, nullptr);
}

bool Listener::hand_over(const Gil& gil, UniqueFd connection, const SockAddress& peer) {
  StreamSocket socket(std::move(connection), peer);
  const Ref python = socket.python(gil, loop_.state());
  const Ref name = !python ? Ref() : peer.size > 0 ? to_python(gil, peer) : Ref::share(gil, Py_None);
  const Ref context = Ref::steal(name ? PyContext_Copy(context_.get()) : nullptr);
  bool done = false;
  if (context && PyContext_Enter(context.get()) == 0) {
    done = static_cast<bool>(Ref::steal(PyObject_CallFunctionObjArgs(hand_over_.get(), python.get(), name.get(), nullptr)));
    PyContext_Exit(context.get());
  }
  return done || report_pending(gil, "Error on transport creation for incoming connection", nullptr, nullptr);
}

/// The kernel goes on saying that there is a connection, which we cannot take.
bool Listener::pause(const Gil& gil) {
  PyErr_SetFromErrno(PyExc_OSError);
  if (!report_pending(gil, "socket.accept() out of system resource", "socket", socket_.get())) return false;
  watcher_.close();
  return static_cast<bool>(Ref::steal(PyObject_CallMethod(loop_object_.get(), "call_later", "dN", kPauseSeconds,
                                                          PyObject_GetAttrString(object_, "start"))));
}

/// False: the exception is one that ends the run.
bool Listener::report_pending(const Gil& gil, const char* message, const char* what, PyObject* about) {
  if (ends_the_run()) return false;
  const Ref exception = Ref::steal(compat::take_raised());
  const Ref more = Ref::steal(what ? Py_BuildValue("{s:N}", what, PyObject_CallOneArg(loop_.state().transport_socket.get(), about)) : nullptr);
  return loop_.report(gil, message, exception.get(), more.get());
}

int Listener::traverse(visitproc visit, void* arg) const {
  for (const Ref* each : {&loop_object_, &socket_, &factory_, &server_, &hand_over_, &context_})
    if (const int stop = each->traverse(visit, arg)) return stop;
  return 0;
}

// The Python type -------------------------------------------------------------------------------------------------------

namespace {

// Listener(loop, sock, protocol_factory, server, backlog, hand_over)
PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  const GilHeld gil;
  PyObject *loop, *socket, *factory, *server, *hand_over;
  int backlog;
  if (!PyArg_ParseTuple(args, "OOOOiO:Listener", &loop, &socket, &factory, &server, &backlog, &hand_over)) return nullptr;
  State* state = state_behind(type);
  if (!state) return nullptr;
  if (!PyObject_TypeCheck(loop, reinterpret_cast<PyTypeObject*>(state->loop.get())) || !loop_of(loop).is_open()) {
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return nullptr;
  }
  Ref context = Ref::steal(PyContext_CopyCurrent());
  const Ref self = Ref::steal(context ? type->tp_alloc(type, 0) : nullptr);
  if (!self) return nullptr;
  const auto unless_none = [&gil](PyObject* object) { return object == Py_None ? Ref() : Ref::share(gil, object); };
  auto& listener = reinterpret_cast<ListenerObject*>(self.get())->listener;
  new (&listener) std::optional<Listener>();
  listener.emplace(gil, self.get(),
                   Listener::Parts{Ref::share(gil, loop), Ref::share(gil, socket), Ref::share(gil, factory), unless_none(server),
                                   unless_none(hand_over), backlog},
                   std::move(context));
  Py_INCREF(self.get());
  return self.get();
}

PyObject* start(PyObject* self, PyObject*) {
  const GilHeld gil;
  return none_if(of(self).start(gil));
}

PyObject* stop(PyObject* self, PyObject*) {
  of(self).stop();
  Py_RETURN_NONE;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  auto& listener = reinterpret_cast<ListenerObject*>(self)->listener;
  if (listener) listener->stop();
  listener.~optional();
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  const auto& listener = reinterpret_cast<ListenerObject*>(self)->listener;
  return listener ? listener->traverse(visit, arg) : 0;
}

PyMethodDef methods[] = {{"start", start, METH_NOARGS, "start($self, /)\n--\n\nAccepts from now on, unless it was stopped."},
                         {"stop", stop, METH_NOARGS, "stop($self, /)\n--\n\nFor good; the socket stays open."},
                         {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, slot(make)},          {Py_tp_dealloc, slot(dealloc)}, {Py_tp_traverse, slot(traverse)},
                       {Py_tp_methods, methods},         {0, nullptr}};

PyType_Spec spec{"_erlang_loop.Listener", sizeof(ListenerObject), 0, static_cast<unsigned>(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC), slots};

}  // namespace

bool make_listener_type(const Gil&, State&, PyObject* module) {
  const Ref type = Ref::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace pyw::aio
