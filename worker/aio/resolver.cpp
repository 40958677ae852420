#include "aio/resolver.hpp"

#include <netinet/in.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "aio/address.hpp"
#include "aio/loop.hpp"

namespace pyw::aio {
namespace {

// Answers -----------------------------------------------------------------------------------------------------------------

/// The member of an enum, or the number if there is none.
Ref member(const Gil& gil, const Ref& members, int number) {
  Ref value = Ref::steal(PyLong_FromLong(number));
  if (!value) return {};
  PyObject* known = PyDict_GetItemWithError(members.get(), value.get());
  if (known) return Ref::share(gil, known);
  return PyErr_Occurred() ? Ref() : std::move(value);
}

Ref to_python(const Gil& gil, const addrinfo& of) {
  SockAddress address;
  if ((of.ai_family != AF_INET && of.ai_family != AF_INET6) || of.ai_addrlen > sizeof address.in6)
    return Ref::steal(Py_BuildValue("iy#", of.ai_family, of.ai_addr->sa_data, static_cast<Py_ssize_t>(of.ai_addrlen - offsetof(sockaddr, sa_data))));
  std::memcpy(&address.any, of.ai_addr, of.ai_addrlen);
  address.size = of.ai_addrlen;
  return aio::to_python(gil, address);
}

/// As socket.getaddrinfo has it.
Ref list_of(const Gil& gil, const State& state, const addrinfo* found) {
  Ref list = Ref::steal(PyList_New(0));
  for (const addrinfo* each = found; list && each; each = each->ai_next) {
    Ref family = member(gil, state.address_families, each->ai_family), kind = member(gil, state.socket_kinds, each->ai_socktype);
    Ref proto = Ref::steal(PyLong_FromLong(each->ai_protocol));
    Ref name = Ref::steal(PyUnicode_FromString(each->ai_canonname ? each->ai_canonname : ""));
    Ref address = to_python(gil, *each);
    const Ref entry = Ref::steal(family && kind && proto && name && address ? PyTuple_New(5) : nullptr);
    if (!entry) return {};
    Py_ssize_t at = 0;
    for (Ref* part : {&family, &kind, &proto, &name, &address}) PyTuple_SET_ITEM(entry.get(), at++, part->release());
    if (PyList_Append(list.get(), entry.get()) != 0) return {};
  }
  return list;
}

void set_gaierror(const State& state, int error, int system_error) {
  if (error == EAI_SYSTEM) {
    errno = system_error;
    PyErr_SetFromErrno(PyExc_OSError);
    return;
  }
  const Ref arguments = Ref::steal(Py_BuildValue("is", error, ::gai_strerror(error)));
  if (arguments) PyErr_SetObject(state.gaierror.get(), arguments.get());
}

/// Empty: what went wrong is pending.
Ref result_of(const Gil& gil, const State& state, const LookUp& look_up) {
  if (look_up.error != 0) {
    set_gaierror(state, look_up.error, look_up.system_error);
    return {};
  }
  if (look_up.names) return list_of(gil, state, look_up.found);
  const Ref host = Ref::steal(PyUnicode_DecodeFSDefault(look_up.host));
  return host ? Ref::steal(Py_BuildValue("Os", host.get(), look_up.service)) : Ref();
}

// Questions ---------------------------------------------------------------------------------------------------------------

enum class Taken { ours, not_ours, failed };

/// A host's or a service's name as C wants it.
struct Text {
  const char* text = nullptr;  ///< null: none
  Ref owner;
  char digits[8];

  bool take(const char* given, Py_ssize_t size) {
    text = given;
    return std::strlen(given) == static_cast<std::size_t>(size);  // else Python would look up what is before the zero
  }
};

/// What Python's codec "idna" leaves as it is.
bool is_plain_name(const char* text, Py_ssize_t size) {
  Py_ssize_t label = 0;
  for (Py_ssize_t i = 0; i < size; ++i) {
    if (text[i] != '.') {
      ++label;
    } else if (label == 0 || label > 63) {
      return false;
    } else {
      label = 0;
    }
  }
  return label <= 63;
}

Taken take_host(const Gil&, PyObject* given, Text& host) {
  if (given == Py_None) return Taken::ours;
  if (PyBytes_CheckExact(given)) return host.take(PyBytes_AS_STRING(given), PyBytes_GET_SIZE(given)) ? Taken::ours : Taken::not_ours;
  if (!PyUnicode_CheckExact(given)) return Taken::not_ours;
  if (PyUnicode_IS_ASCII(given)) {
    const auto* text = reinterpret_cast<const char*>(PyUnicode_1BYTE_DATA(given));
    const Py_ssize_t size = PyUnicode_GET_LENGTH(given);
    if (is_plain_name(text, size)) return host.take(text, size) ? Taken::ours : Taken::not_ours;
  }
  host.owner = Ref::steal(PyUnicode_AsEncodedString(given, "idna", nullptr));
  if (!host.owner) return Taken::failed;
  return host.take(PyBytes_AS_STRING(host.owner.get()), PyBytes_GET_SIZE(host.owner.get())) ? Taken::ours : Taken::not_ours;
}

Taken take_service(const Gil&, PyObject* given, Text& service) {
  if (given == Py_None) return Taken::ours;
  if (PyLong_CheckExact(given)) {
    int overflow = 0;
    const long port = PyLong_AsLongAndOverflow(given, &overflow);
    if (overflow != 0 || port < 0 || port > 0xffff) return Taken::not_ours;
    std::snprintf(service.digits, sizeof service.digits, "%ld", port);
    service.text = service.digits;
    return Taken::ours;
  }
  if (PyBytes_CheckExact(given)) return service.take(PyBytes_AS_STRING(given), PyBytes_GET_SIZE(given)) ? Taken::ours : Taken::not_ours;
  if (!PyUnicode_CheckExact(given)) return Taken::not_ours;
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(given, &size);
  if (!text) return Taken::failed;
  return service.take(text, size) ? Taken::ours : Taken::not_ours;
}

/// The C library reads no file for it.
bool is_number(const Text& service) { return !service.text || std::strspn(service.text, "0123456789") == std::strlen(service.text); }

/// Only addresses, also abbreviated and hexadecimal ones, look like this; not all that look so are one.
bool may_be_address(const char* host) { return (host[0] >= '0' && host[0] <= '9') || std::strchr(host, ':'); }

bool to_int(PyObject* given, int& value) {
  const long wide = PyLong_AsLong(given);
  if (wide == -1 && PyErr_Occurred()) return false;
  value = static_cast<int>(wide);
  if (value == wide) return true;
  PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
  return false;
}

/// What can be said without asking anybody. True: it is, or what is wrong is pending.
bool answered_here(const Gil& gil, const State& state, const Text& host, const Text& service, addrinfo hints, Ref& answer) {
  const bool numbers_only = !host.text || (hints.ai_flags & AI_NUMERICHOST);
  if (!is_number(service) || !(numbers_only || may_be_address(host.text))) return false;
  if (host.text) hints.ai_flags |= AI_NUMERICHOST;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.text, service.text, &hints, &found);
  const int system_error = errno;
  if (error == 0) {
    answer = list_of(gil, state, found);
    ::freeaddrinfo(found);
    return true;
  }
  if (!numbers_only) return false;
  set_gaierror(state, error, system_error);
  return true;
}

/// An address as socket.getnameinfo takes it. False: an exception is pending.
bool take_address(const Gil&, const State& state, PyObject* given, LookUp::Address& address) {
  if (!PyTuple_Check(given)) {
    PyErr_SetString(PyExc_TypeError, "getnameinfo() argument 1 must be a tuple");
    return false;
  }
  const char* host;
  int port;
  unsigned int flow = 0, scope = 0;
  if (!PyArg_ParseTuple(given, "si|II;getnameinfo(): illegal sockaddr argument", &host, &port, &flow, &scope)) return false;
  if (flow > 0xfffff) {
    PyErr_SetString(PyExc_OverflowError, "getnameinfo(): flowinfo must be 0-1048575.");
    return false;
  }
  if (PySys_Audit("socket.getnameinfo", "(O)", given) < 0) return false;
  char service[16];
  std::snprintf(service, sizeof service, "%d", port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host, service, &hints, &found); error != 0) {
    set_gaierror(state, error, errno);
    return false;
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  if (found->ai_next) {
    PyErr_SetString(PyExc_OSError, "sockaddr resolved to multiple addresses");
    return false;
  }
  if (found->ai_family == AF_INET && PyTuple_GET_SIZE(given) != 2) {
    PyErr_SetString(PyExc_OSError, "IPv4 sockaddr must be 2 tuple");
    return false;
  }
  std::memcpy(&address.address, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  if (found->ai_family == AF_INET6) {
    auto& in6 = reinterpret_cast<sockaddr_in6&>(address.address);
    in6.sin6_flowinfo = htonl(flow);
    in6.sin6_scope_id = scope;
  }
  return true;
}

}  // namespace

// The resolver ------------------------------------------------------------------------------------------------------------

void Resolver::told(void* self) {
  static_cast<Resolver*>(self)->answered_.store(true);
  static_cast<Resolver*>(self)->loop_.nudge();
}

Resolver::Resolver(Loop& loop) : loop_(loop), threads_(std::make_unique<LookUpThreads>(this, told)), generation_(fork_generation()) {}

Resolver::~Resolver() {
  if (is_foreign()) (void)threads_.release();  // its lock may be held for ever
  threads_.reset();
  const auto waiting = std::exchange(waiting_, {});
}

Ref Resolver::ask(const Gil& gil, std::unique_ptr<LookUp> look_up) {
  if (is_foreign()) renew();
  PyObject* with_loop = loop_.object();
  Ref future = Ref::steal(PyObject_Vectorcall(loop_.state().future.get(), &with_loop, 0, loop_.state().kw_loop.get()));
  if (!future) return {};
  const std::uint64_t id = look_up->id = ++last_id_;
  waiting_.emplace(id, Waiting{Ref::share(gil, future.get()), look_up->names, look_up->address});
  if (threads_->ask(std::move(look_up))) return future;
  waiting_.erase(id);
  PyErr_SetString(PyExc_RuntimeError, "can't start new thread");
  return {};
}

void Resolver::forget(const Gil&, PyObject* future) {
  for (auto at = waiting_.begin(); at != waiting_.end(); ++at) {
    if (at->second.future.get() != future) continue;
    const auto gone = waiting_.extract(at);
    if (!is_foreign()) threads_->drop(gone.key());
    return;
  }
}

void Resolver::renew() {
  (void)threads_.release();
  threads_ = std::make_unique<LookUpThreads>(this, told);
  generation_ = fork_generation();
  for (const auto& [id, waiting] : waiting_) {
    auto again = waiting.names ? std::make_unique<LookUp>(*waiting.names) : std::make_unique<LookUp>(*waiting.address);
    again->id = id;
    (void)threads_->ask(std::move(again));  // without threads nothing works in this child, and nobody is there to be told
  }
}

bool Resolver::deliver(const Gil& gil, PyObject* loop) {
  // Taken out first: what is settled may ask again, or close the loop.
  Resolver* self = loop_of(loop).resolver();
  if (!self || self->is_foreign()) return true;
  for (const auto& answered : self->threads_->take_answered()) {
    self = loop_of(loop).resolver();
    if (!self) break;
    const auto waiting = self->waiting_.extract(answered->id);
    if (waiting) self->settle(gil, waiting.mapped().future.get(), *answered);
  }
  return true;
}

void Resolver::settle(const Gil& gil, PyObject* future, const LookUp& look_up) {
  const State& state = loop_.state();
  const Ref done = Ref::steal(PyObject_CallMethodNoArgs(future, state.s_done.get()));
  if (done.get() == Py_True) return;
  const Ref result = done ? result_of(gil, state, look_up) : Ref();
  const Ref exception = result ? Ref() : Ref::steal(compat::take_raised());
  if (!Ref::steal(result ? PyObject_CallMethodOneArg(future, state.s_set_result.get(), result.get())
                         : PyObject_CallMethodOneArg(future, state.s_set_exception.get(), exception.get())))
    PyErr_WriteUnraisable(future);
}

int Resolver::traverse(visitproc visit, void* arg) const {
  for (const auto& [id, waiting] : waiting_)
    if (const int stop = waiting.future.traverse(visit, arg)) return stop;
  return 0;
}

// The methods -------------------------------------------------------------------------------------------------------------

namespace {

/// A future, or what is wrong is pending.
PyObject* ask(const Gil& gil, Loop& loop, std::unique_ptr<LookUp> look_up) {
  Resolver* resolver = loop.make_resolver(gil);
  return resolver ? resolver->ask(gil, std::move(look_up)).release() : nullptr;
}

bool check_count(const char* method, Py_ssize_t given, Py_ssize_t wanted) {
  if (given == wanted) return true;
  PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, not %zd", method, wanted, given);
  return false;
}

}  // namespace

PyObject* look_up_names(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  const GilHeld gil;
  if (!check_count("_look_up_names", nargs, 6)) return nullptr;
  Loop& loop = loop_of(self);
  Text host, service;
  addrinfo hints{};
  if (!to_int(args[2], hints.ai_family) || !to_int(args[3], hints.ai_socktype) || !to_int(args[4], hints.ai_protocol) ||
      !to_int(args[5], hints.ai_flags))
    return nullptr;
  Taken taken = take_host(gil, args[0], host);
  if (taken == Taken::ours) taken = take_service(gil, args[1], service);
  if (taken == Taken::failed) return nullptr;
  if (taken == Taken::not_ours) Py_RETURN_NOTIMPLEMENTED;
  if (PySys_Audit("socket.getaddrinfo", "OOiii", args[0], args[1], hints.ai_family, hints.ai_socktype, hints.ai_protocol) < 0) return nullptr;
  Ref answer;
  if (answered_here(gil, loop.state(), host, service, hints, answer)) return answer.release();
  const auto copy = [](const Text& of) { return of.text ? std::optional<std::string>(of.text) : std::nullopt; };
  return ask(gil, loop, std::make_unique<LookUp>(LookUp::Names{copy(host), copy(service), hints}));
}

PyObject* look_up_address(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  const GilHeld gil;
  if (!check_count("_look_up_address", nargs, 2)) return nullptr;
  Loop& loop = loop_of(self);
  LookUp::Address address;
  if (!to_int(args[1], address.flags) || !take_address(gil, loop.state(), args[0], address)) return nullptr;
  constexpr int kNumbersOnly = NI_NUMERICHOST | NI_NUMERICSERV;
  auto look_up = std::make_unique<LookUp>(address);
  if ((address.flags & kNumbersOnly) != kNumbersOnly) return ask(gil, loop, std::move(look_up));
  look_up->answer();
  return result_of(gil, loop.state(), *look_up).release();
}

PyObject* forget_look_up(PyObject* self, PyObject* future) {
  const GilHeld gil;
  if (Resolver* resolver = loop_of(self).resolver()) resolver->forget(gil, future);
  Py_RETURN_NONE;
}

}  // namespace pyw::aio
