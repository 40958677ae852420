#include "python/outcalls.hpp"

#include <structmember.h>

#include <array>
#include <cmath>
#include <cstddef>

#include "base/clock.hpp"
#include "python/erlang_module.hpp"
#include "python/fork.hpp"

namespace pyw {
namespace {

/// Seen by the collector: what a loop's coroutines wait for holds the loop, which holds its mailbox.
struct MailboxObject {
  PyObject_HEAD
  PyObject* weak_references;
  std::unique_ptr<Mailbox>* box;
  std::shared_ptr<MailboxHome>* home;
};

MailboxObject* as_mailbox(PyObject* object) { return reinterpret_cast<MailboxObject*>(object); }

void close_box(MailboxObject* self) {
  if (!self->box || !*self->box) return;
  const std::unique_ptr<Mailbox> box = std::move(*self->box);
  MailboxHome& home = **self->home;
  home.open.erase(box.get());
  // What the mailbox stands for in the session is the parent's, and so may be the session's lock.
  if (in_forked_child()) return;
  std::deque<port::Frame> nested;
  const auto gather = [&nested, &box] {
    for (auto& mail : box->take())
      if (mail.what == Mailbox::Mail::What::nested) nested.push_back(std::move(mail.frame));
  };
  gather();
  home.session.forget(*box, std::move(nested));
  nested.clear();
  gather();  // what came before it was forgotten
  home.session.requeue(std::move(nested));
  if (home.calls) home.calls->left_to_main();
}

int traverse_mailbox(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  const auto* box = as_mailbox(self)->box;
  return box && *box ? (*box)->traverse(visit, arg) : 0;
}

int clear_mailbox(PyObject* self) {
  close_box(as_mailbox(self));
  return 0;
}

void free_mailbox(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (as_mailbox(self)->weak_references) PyObject_ClearWeakRefs(self);
  close_box(as_mailbox(self));
  delete as_mailbox(self)->box;
  delete as_mailbox(self)->home;
  type->tp_free(self);
  Py_DECREF(type);
}

/// Null: an exception is pending.
Outcalls* open_calls(PyObject* self) {
  if (!*as_mailbox(self)->box) {
    PyErr_SetString(PyExc_ValueError, "the mailbox is closed");
    return nullptr;
  }
  Outcalls* calls = (*as_mailbox(self)->home)->calls;
  if (!calls) PyErr_SetString(PyExc_RuntimeError, "the context has ended: there is no Erlang to call any more");
  return calls;
}

PyObject* mailbox_fileno(PyObject* self, PyObject*) {
  const auto& box = *as_mailbox(self)->box;
  return PyLong_FromLong(box ? box->fd() : -1);
}

PyObject* mailbox_drain(PyObject* self, PyObject*) {
  const GilHeld gil;
  Outcalls* calls = open_calls(self);
  if (!calls) return nullptr;
  const Ref keep = Ref::share(gil, self);  // what is called may drop the last reference
  calls->drain(gil, **as_mailbox(self)->box);
  Py_RETURN_NONE;
}

PyObject* mailbox_close(PyObject* self, PyObject*) {
  const GilHeld gil;
  if (*as_mailbox(self)->box && (*as_mailbox(self)->box)->where() == session::Waiter::Where::context_loop) {
    PyErr_SetString(PyExc_RuntimeError, "the context's own mailbox lives as long as the context");
    return nullptr;
  }
  close_box(as_mailbox(self));
  Py_RETURN_NONE;
}

PyObject* mailbox_new(PyTypeObject*, PyObject*, PyObject*) {
  PyErr_SetString(PyExc_TypeError, "new_mailbox() makes mailboxes");
  return nullptr;
}

PyMethodDef mailbox_methods[] = {
    {"fileno", mailbox_fileno, METH_NOARGS, "Readable when there is mail; -1 for the context's own mailbox, which the worker looks into by itself."},
    {"drain", mailbox_drain, METH_NOARGS, "Calls the functions whose answers have come and runs nested requests. On the thread of the loop."},
    {"close", mailbox_close, METH_NOARGS, "Nobody waits here any more: the Erlang jobs are cancelled."},
    {nullptr, nullptr, 0, nullptr}};
PyMemberDef mailbox_members[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(MailboxObject, weak_references), READONLY, nullptr},
                                 {nullptr, 0, 0, 0, nullptr}};
PyType_Slot mailbox_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(free_mailbox)},
                               {Py_tp_traverse, reinterpret_cast<void*>(traverse_mailbox)},
                               {Py_tp_clear, reinterpret_cast<void*>(clear_mailbox)},
                               {Py_tp_members, mailbox_members},
                               {Py_tp_new, reinterpret_cast<void*>(mailbox_new)},
                               {Py_tp_methods, mailbox_methods},
                               {Py_tp_doc, const_cast<char*>("Where the answers for the coroutines of one event loop arrive.")},
                               {0, nullptr}};
PyType_Spec mailbox_spec = {"_erlang.Mailbox", sizeof(MailboxObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, mailbox_slots};

Ref pair(bool ok, const Ref& value) {
  return Ref::steal(value ? PyTuple_Pack(2, ok ? Py_True : Py_False, value.get()) : nullptr);
}

}  // namespace

namespace {

bool waits_for_something(const Terms& terms, std::string_view op, PyObject* args) {
  if (op == "monitor") return true;
  if ((op != "channel" && op != "inlet") || PyTuple_GET_SIZE(args) == 0) return false;
  PyObject* what = PyTuple_GET_ITEM(args, 0);
  if (!Py_IS_TYPE(what, reinterpret_cast<PyTypeObject*>(terms.atom.get()))) return false;
  return PyUnicode_CompareWithASCIIString(atom_text(what), op == "channel" ? "receive" : "take") == 0;
}

}  // namespace

/// A callback that is being made.
struct Outcalls::Outgoing {
  explicit Outgoing(std::uint64_t max_frame) : frame(max_frame) {}
  std::uint64_t id = 0;
  std::uint64_t origin = 0;
  std::uint64_t deadline = 0;
  bool waits = false;  ///< for something to happen, which may never be
  port::FrameBuilder frame;
};

Result<std::unique_ptr<Outcalls>> Outcalls::make(const Gil& gil, Parts parts) {
  std::unique_ptr<Outcalls> calls(new Outcalls(std::move(parts)));
  calls->home_ = std::make_shared<MailboxHome>(MailboxHome{calls->parts_.session, calls.get()});
  calls->mailbox_type_ = Ref::steal(PyType_FromSpec(&mailbox_spec));
  if (calls->mailbox_type_) calls->context_object_ = calls->make_mailbox(gil, session::Waiter::Where::context_loop);
  if (!calls->context_object_) {
    PyErr_Clear();
    return Error{Errc::python, "the mailbox of the context cannot be made"};
  }
  calls->mailbox_ = as_mailbox(calls->context_object_.get())->box->get();
  return calls;
}

Outcalls::~Outcalls() {
  if (home_) home_->calls = nullptr;
}

Ref Outcalls::make_mailbox(const Gil&, session::Waiter::Where where) {
  auto box = Mailbox::make(where);
  if (!box) {
    PyErr_SetString(PyExc_OSError, box.error().message.c_str());
    return {};
  }
  auto* type = reinterpret_cast<PyTypeObject*>(mailbox_type_.get());
  Ref object = Ref::steal(type->tp_alloc(type, 0));
  if (!object) return {};
  as_mailbox(object.get())->box = new std::unique_ptr<Mailbox>(box.take());
  as_mailbox(object.get())->home = new std::shared_ptr<MailboxHome>(home_);
  home_->open.insert(as_mailbox(object.get())->box->get());
  if (where == session::Waiter::Where::other_loop && on_main()) ++home_->opened_on_main;
  return object;
}

bool Outcalls::on_main() const { return ::pthread_equal(::pthread_self(), main_thread_) != 0; }

void Outcalls::flush() {
  if (parts_.outbox.flush() == port::Outbox::State::blocked) parts_.nudge();
}

void Outcalls::left_to_main() {
  flush();
  parts_.nudge();
}

bool Outcalls::build(const Gil& gil, Outgoing& out, PyObject* op, PyObject* args, PyObject* timeout) {
  if (in_forked_child()) {
    PyErr_SetString(PyExc_RuntimeError, "a forked child has no connection to Erlang: only the worker itself can call");
    return false;
  }
  Py_ssize_t size = 0;
  const char* name = PyUnicode_AsUTF8AndSize(op, &size);
  if (!name) return false;
  std::uint64_t until = 0;
  if (timeout != Py_None) {
    const double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) return false;
    if (std::isnan(seconds)) {
      PyErr_SetString(PyExc_ValueError, "timeout is not a number of seconds");
      return false;
    }
    constexpr double kForever = 1e9;  // seconds; some thirty years
    if (seconds < kForever) until = monotonic_ns() + static_cast<std::uint64_t>(std::max(seconds, 0.0) * 1e9);
  }
  const auto current = parts_.current.facts(gil);  // after a timeout's own __float__, which may set another trace: this one is lent
  out.origin = current.id;
  out.deadline = until == 0 || (current.deadline != 0 && current.deadline < until) ? current.deadline : until;
  out.waits = waits_for_something(parts_.codec.terms(), {name, static_cast<std::size_t>(size)}, args);
  out.id = parts_.session.next_callback();
  out.frame.begin_callback(out.id, out.origin, out.deadline, current.trace);
  return write_args(gil, out, {name, static_cast<std::size_t>(size)}, args);
}

bool Outcalls::write_args(const Gil& gil, Outgoing& out, std::string_view op, PyObject* args) {
  auto& writer = out.frame.writer();
  const Py_ssize_t count = PyTuple_GET_SIZE(args);
  writer.version();
  writer.tuple(static_cast<std::uint32_t>(count + 1));
  writer.atom(op);
  BadTerm bad;
  for (Py_ssize_t i = 0; i < count && !bad; ++i) {
    const char* root = i == 0 ? "name" : op == "call" ? "args" : "term";
    if (!parts_.codec.encode(gil, PyTuple_GET_ITEM(args, i), writer, root, bad) && !bad) return false;
  }
  if (!bad && (out.frame.overflowed() || writer.size() > parts_.max_frame))
    bad = {BadTerm::Kind::term, "args", "larger than max_frame (" + std::to_string(parts_.max_frame) + " bytes)"};
  if (bad) raise_term_error(parts_.codec.terms(), bad);
  return !bad;
}

Ref Outcalls::call(const Gil& gil, PyObject* op, PyObject* args, PyObject* timeout) {
  Outgoing out(parts_.max_frame);
  if (!build(gil, out, op, args, timeout)) return {};
  BlockedThread thread(on_main() ? session::Waiter::Where::main : session::Waiter::Where::thread);
  parts_.session.send_callback(out.id, out.origin, thread, std::move(out.frame), out.waits);
  return on_main() ? wait_on_main(gil, out, thread) : wait_here(gil, out, thread);
}

Ref Outcalls::wait_on_main(const Gil& gil, const Outgoing& out, BlockedThread& thread) {
  const auto end = parts_.main.wait(gil, out.id, thread, out.deadline);
  if (end != MainWait::End::answered && (parts_.session.abandon(out.id) || end == MainWait::End::raised)) {
    if (end == MainWait::End::timeout) PyErr_SetString(PyExc_TimeoutError, "Erlang did not answer in time");
    return {};
  }
  return decode(gil, thread.take_answer());
}

Ref Outcalls::wait_here(const Gil& gil, const Outgoing& out, BlockedThread& thread) {
  flush();
  parts_.session.thread_waits(true);
  auto event = BlockedThread::Event::nested;
  while (event == BlockedThread::Event::nested) {
    {
      const GilRelease released(gil);
      event = parts_.wait_aside(thread, out.deadline);
    }
    while (auto frame = thread.take_nested()) run_nested(gil, *frame, {Executor::Place::Kind::thread});
  }
  parts_.session.thread_waits(false);
  // A stop counts even when the answer has come meanwhile.
  const bool given_up = event != BlockedThread::Event::answer && (parts_.session.abandon(out.id) || event == BlockedThread::Event::stopped);
  if (auto rest = thread.take_all_nested(); !rest.empty()) {
    parts_.session.requeue(std::move(rest));
    parts_.nudge();
  }
  if (!given_up) return decode(gil, thread.take_answer());
  flush();  // the cancel
  if (event == BlockedThread::Event::timeout) {
    PyErr_SetString(PyExc_TimeoutError, "Erlang did not answer in time");
  } else {
    raise_stop(gil, out.origin);
  }
  return {};
}

/// A request that a thread runs gets an interrupt like one on main, and so do the threads that it has itself. A thread that works for a coroutine
/// hands on what it raises, and there a KeyboardInterrupt would end the whole loop, which may be that of somebody else's call.
void Outcalls::raise_stop(const Gil& gil, std::uint64_t origin) {
  if (parts_.session.is_elsewhere(origin)) {
    parts_.executor.stopped_elsewhere(gil, origin);
    return PyErr_SetNone(PyExc_KeyboardInterrupt);
  }
  const Ref module = Ref::steal(PyImport_ImportModule("asyncio.exceptions"));
  const Ref cancelled = Ref::steal(module ? PyObject_GetAttrString(module.get(), "CancelledError") : nullptr);
  if (cancelled) PyErr_SetNone(cancelled.get());
}

Ref Outcalls::decode(const Gil& gil, const port::Frame& frame) {
  if (frame.lost()) return PyErr_NoMemory(), Ref();
  etf::Reader in(frame.payload(), parts_.codec.options().limits);
  BadTerm bad;
  Ref value;
  if (in.version()) {
    value = parts_.codec.decode(gil, in, "result", bad);
  } else {
    bad = {BadTerm::Kind::term, "result", in.error()};
  }
  if (bad) raise_term_error(parts_.codec.terms(), bad), add_items(gil, frame);
  return pair(frame.header.kind == port::Kind::callback_ok, value);
}

/// Gives the TermError that is pending the attribute `items`, if the answer is `{items, [...]}`: see items_of().
void Outcalls::add_items(const Gil& gil, const port::Frame& frame) {
  const Ref error = Ref::steal(compat::take_raised());
  if (!error) return;
  const Ref items = items_of(gil, frame.payload());
  if (PyErr_Occurred() || (items && PyObject_SetAttrString(error.get(), "items", items.get()) < 0)) return;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.get())), error.get());
}

/// Each item by itself, or the TermError that stands for it: one that has no counterpart takes no other along. Empty: an exception is
/// pending, or these are no items.
Ref Outcalls::items_of(const Gil& gil, Bytes payload) {
  auto& codec = parts_.codec;
  etf::Reader in(payload, codec.options().limits);
  etf::Token token;
  if (!in.version() || !in.next(token) || token.kind != etf::Kind::tuple || token.count != 2) return {};
  if (!in.next(token) || token.kind != etf::Kind::atom || text_of(token.bytes) != "items") return {};
  if (!in.next(token) || token.kind != etf::Kind::list) return {};
  Ref items = Ref::steal(PyList_New(static_cast<Py_ssize_t>(token.count)));
  for (Py_ssize_t i = 0; items && i < static_cast<Py_ssize_t>(token.count); ++i) {
    Bytes encoded;
    if (!in.skip(&encoded)) return {};
    etf::Reader one(encoded, codec.options().limits);
    BadTerm bad;
    Ref item = codec.decode(gil, one, "item", bad);
    if (bad) raise_term_error(codec.terms(), bad), item = Ref::steal(compat::take_raised());
    if (!item) return {};
    PyList_SET_ITEM(items.get(), i, item.release());
  }
  return items;
}

void Outcalls::run_nested(const Gil& gil, const port::Frame& frame, Executor::Place place) {
  auto& session = parts_.session;
  // In a loop that a request runs on the main thread it stands above that request, and is interrupted like one.
  const bool above = on_main();
  if (!(above ? session.begin_on_main(frame) : session.begin_elsewhere(frame))) return flush();
  const std::uint64_t opened = home_->opened_on_main;
  if (parts_.executor.run(gil, frame, place) == Executor::Outcome::answered)
    above ? session.finished(frame.header.id) : session.finished_elsewhere(frame.header.id);
  if (above) wind_up(gil, opened);
  flush();
}

void Outcalls::wind_up(const Gil& gil, std::uint64_t before) {
  const bool interrupted = parts_.executor.take_interrupted(gil);
  const bool others = home_->open.size() > 1;  // than the context's own
  if (home_->opened_on_main == before && !(interrupted && others)) return;
  PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), "erlang._mailbox");  // borrowed; not there: they are no loop's
  if (!module) return;
  if (interrupted) flush();  // the answer need not wait for the collector
  const Ref alive = Ref::share(gil, module);
  const InterruptPoint::Hold whole(gil, parts_.interrupts);
  if (!Ref::steal(PyObject_CallMethod(module, "wind_up", "O", interrupted ? Py_True : Py_False))) PyErr_WriteUnraisable(module);
}

std::uint64_t Outcalls::start(const Gil& gil, Mailbox& mailbox, PyObject* done, PyObject* op, PyObject* args, PyObject* timeout) {
  Outgoing out(parts_.max_frame);
  if (!build(gil, out, op, args, timeout)) return 0;
  if (!home_->open.contains(&mailbox)) {  // by what encoded the arguments
    PyErr_SetString(PyExc_ValueError, "the mailbox is closed");
    return 0;
  }
  mailbox.expect(gil, out.id, Ref::share(gil, done));
  parts_.session.send_callback(out.id, out.origin, mailbox, std::move(out.frame), out.waits);
  // The main loop writes at the end of its turn what coroutines of the context's loop have to say.
  if (&mailbox != mailbox_ || !on_main()) flush();
  return out.id;
}

bool Outcalls::cancel(const Gil& gil, std::uint64_t id) {
  if (in_forked_child()) return false;
  for (Mailbox* mailbox : home_->open) {
    const Ref done = mailbox->forget(gil, id);
    if (!done) continue;
    parts_.session.abandon(id);
    if (mailbox != mailbox_ || !on_main()) flush();
    return true;
  }
  return false;
}

bool Outcalls::cancel(const Gil& gil, PyObject* done) {
  for (const Mailbox* mailbox : home_->open)
    if (const std::uint64_t id = mailbox->expected_by(gil, done)) return cancel(gil, id);
  return false;
}

void Outcalls::drain(const Gil& gil, Mailbox& mailbox) {
  if (in_forked_child()) return;  // what wakes the mailbox is the parent's
  auto mails = mailbox.take();
  std::deque<port::Frame> left;
  for (auto& mail : mails) {
    if (home_->open.contains(&mailbox))
      hand_out(gil, mailbox, mail);
    else if (mail.what == Mailbox::Mail::What::nested)  // closed by what the others led to
      left.push_back(std::move(mail.frame));
  }
  if (left.empty()) return;
  parts_.session.requeue(std::move(left));
  left_to_main();
}

void Outcalls::hand_out(const Gil& gil, Mailbox& mailbox, Mailbox::Mail& mail) {
  switch (mail.what) {
    case Mailbox::Mail::What::nested: return run_nested(gil, mail.frame, {Executor::Place::Kind::loop, &mailbox});
    case Mailbox::Mail::What::stop: return parts_.cancel_task(gil, mail.id), flush();
    case Mailbox::Mail::What::answer: break;
  }
  const Ref done = mailbox.forget(gil, mail.id);
  if (!done) return;  // cancelled while the answer lay here
  // One that came in here would end with us, and whoever awaits the answer would never hear of it.
  const InterruptPoint::Hold whole(gil, parts_.interrupts);
  Ref answer = decode(gil, mail.frame);
  if (!answer) {
    // The value has no counterpart here: whoever awaits it gets the exception as its answer.
    const Ref error = Ref::steal(compat::take_raised());
    answer = pair(false, error);
  }
  if (!answer || !Ref::steal(PyObject_CallObject(done.get(), answer.get()))) PyErr_WriteUnraisable(done.get());
}

// Functions of the module ---------------------------------------------------------------------------------------------------------

namespace {

/// Null: an exception is pending.
Outcalls* calls_of(const Gil& gil, PyObject* module) {
  auto* calls = static_cast<Outcalls*>(module_state(gil, module).hooks.context);
  if (!calls) PyErr_SetString(PyExc_RuntimeError, "there is no Erlang to call: this Python does not run in a context that is up");
  return calls;
}

bool check_args(PyObject* op, PyObject* args) {
  if (PyUnicode_Check(op) && PyTuple_Check(args)) return true;
  PyErr_SetString(PyExc_TypeError, "op must be a str, args a tuple");
  return false;
}

PyObject* call_op(PyObject* module, PyObject* const* args, Py_ssize_t count) {
  const GilHeld gil;
  Outcalls* calls = calls_of(gil, module);
  if (!calls) return nullptr;
  if (count != 3) return PyErr_Format(PyExc_TypeError, "call_op takes op, args, timeout"), nullptr;
  return check_args(args[0], args[1]) ? calls->call(gil, args[0], args[1], args[2]).release() : nullptr;
}

/// Null: an exception is pending.
Mailbox* open_mailbox(const Gil&, PyObject* object) {
  if (Py_TYPE(object)->tp_dealloc != free_mailbox) return PyErr_SetString(PyExc_TypeError, "not a Mailbox"), nullptr;
  return open_calls(object) ? as_mailbox(object)->box->get() : nullptr;
}

PyObject* start_op(PyObject* module, PyObject* const* args, Py_ssize_t count) {
  const GilHeld gil;
  Outcalls* calls = calls_of(gil, module);
  if (!calls) return nullptr;
  if (count != 5) return PyErr_Format(PyExc_TypeError, "start_op takes mailbox, done, op, args, timeout"), nullptr;
  Mailbox* mailbox = open_mailbox(gil, args[0]);
  if (!mailbox || !check_args(args[2], args[3])) return nullptr;
  const std::uint64_t id = calls->start(gil, *mailbox, args[1], args[2], args[3], args[4]);
  return id == 0 ? nullptr : PyLong_FromUnsignedLongLong(id);
}

PyObject* cancel_op(PyObject* module, PyObject* number) {
  const GilHeld gil;
  if (!PyLong_Check(number)) {  // by whom nothing may have been begun, for want of a context for instance
    auto* there = static_cast<Outcalls*>(module_state(gil, module).hooks.context);
    return PyBool_FromLong(there && there->cancel(gil, number));
  }
  Outcalls* calls = calls_of(gil, module);
  const std::uint64_t id = calls ? PyLong_AsUnsignedLongLong(number) : 0;
  return PyErr_Occurred() ? nullptr : PyBool_FromLong(calls->cancel(gil, id));
}

PyObject* new_mailbox(PyObject* module, PyObject*) {
  const GilHeld gil;
  Outcalls* calls = calls_of(gil, module);
  return calls ? calls->make_mailbox(gil, session::Waiter::Where::other_loop).release() : nullptr;
}

PyObject* context_mailbox(PyObject* module, PyObject*) {
  const GilHeld gil;
  Outcalls* calls = calls_of(gil, module);
  return calls ? calls->context_mailbox(gil).release() : nullptr;
}

PyObject* context_loop(PyObject* module, PyObject*) {
  const GilHeld gil;
  Outcalls* calls = calls_of(gil, module);
  return calls ? calls->context_loop(gil).release() : nullptr;
}

PyObject* current(PyObject* module, PyObject*) {
  const GilHeld gil;
  auto* calls = static_cast<Outcalls*>(module_state(gil, module).hooks.context);
  return (calls ? calls->current(gil) : Ref::share(gil, Py_None)).release();
}

PyObject* set_trace(PyObject* module, PyObject* trace) {
  const GilHeld gil;
  if (!PyUnicode_Check(trace)) return PyErr_SetString(PyExc_TypeError, "a trace is a str"), nullptr;
  Outcalls* calls = calls_of(gil, module);
  return calls ? calls->call_at_hand().set_trace(gil, trace).release() : nullptr;
}

PyObject* reset_trace(PyObject* module, PyObject* token) {
  const GilHeld gil;
  Outcalls* calls = calls_of(gil, module);
  if (!calls || !calls->call_at_hand().reset(gil, token)) return nullptr;
  Py_RETURN_NONE;
}

template <class F>
PyCFunction method(F* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef functions[] = {
    {"call_op", method(call_op), METH_FASTCALL, "call_op($module, op, args, timeout, /)\n--\n\nAsks Erlang and waits: (True, value) or (False, why)."},
    {"start_op", method(start_op), METH_FASTCALL,
     "start_op($module, mailbox, done, op, args, timeout, /)\n--\n\nAsks Erlang; mailbox.drain() calls done(ok, value). Returns a number for cancel_op."},
    {"cancel_op", cancel_op, METH_O, "cancel_op($module, operation, /)\n--\n\nNobody waits any more for the one of this number, or with this `done`. False: it was answered."},
    {"new_mailbox", new_mailbox, METH_NOARGS, "new_mailbox($module, /)\n--\n\nA mailbox for an event loop of your own."},
    {"context_mailbox", context_mailbox, METH_NOARGS, "context_mailbox($module, /)\n--\n\nThe mailbox of the context's loop."},
    {"context_loop", context_loop, METH_NOARGS, "context_loop($module, /)\n--\n\nThe context's asyncio loop."},
    {"current", current, METH_NOARGS, "current($module, /)\n--\n\nThe Call at hand, or None."},
    {"set_trace", set_trace, METH_O, "set_trace($module, trace, /)\n--\n\nThe trace of the code that follows. Returns a token for reset_trace."},
    {"reset_trace", reset_trace, METH_O, "reset_trace($module, token, /)\n--\n\nThe trace is again what it was before. In the same context."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool add_outcall_functions(const Gil&, PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace pyw
