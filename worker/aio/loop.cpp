#include "aio/loop.hpp"

#include "aio/fd_watch.hpp"
#include "aio/raised.hpp"
#include "aio/resolver.hpp"
#include "aio/slow_watch.hpp"
#include "aio/sock_waits.hpp"
#include "base/clock.hpp"

namespace pyw::aio {
namespace {

/// Work goes on for so long before the reactor is asked again. A look costs about half a microsecond.
constexpr std::uint64_t kLookEveryNs = 10'000;

/// Of so many waits one begins with a look, and all of them after so many looks in a row that found something: one that finds nothing is a system
/// call for nothing, which costs more than the others save.
constexpr unsigned kTryOneOf = 16;
constexpr unsigned kSurelyFinds = 4;

/// Whether another thread of Python exists, which may want the GIL while we only look and do not wait. The list is the GIL's; without one there is
/// nothing to hand over, and whoever wants all threads to stop waits for a look, which is short.
bool others_exist() {
#ifdef Py_GIL_DISABLED
  return false;
#else
  PyThreadState* first = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
  return first && PyThreadState_Next(first);
#endif
}

}  // namespace

std::uint64_t Loop::monotonic_ns_now() { return monotonic_ns(); }

Loop::Loop(const Gil& gil, State& state, LoopObject* object) : state_(state), object_(object), task_factory_(Ref::share(gil, Py_None)) {}

Loop::~Loop() {
  const GilHeld gil;
  close(gil);
}

bool Loop::open(const Gil&, uv_loop_t* lent) {
  auto made = lent ? Reactor::borrow(lent) : Reactor::make();
  if (!made) {
    PyErr_SetString(PyExc_OSError, made.error().message.c_str());
    return false;
  }
  reactor_ = made.take();
  lent_ = lent != nullptr;
  return true;
}

void Loop::close(const Gil&) {
  closed_ = true;
  // What is dropped here may run Python code, which may come back to us: each container is consistent before anything is dropped.
  while (!ready_.empty()) {
    const Entry entry = ready_.pop();
    entry.chore ? Py_DECREF(entry.object) : drop_handle(reinterpret_cast<HandleObject*>(entry.object));
  }
  while (!timers_.empty()) {
    HandleObject* timer = timers_.take_any();
    timer->scheduled = false;
    drop_handle(timer);
  }
  for (const Entry& entry : std::exchange(last_, {})) Py_DECREF(entry.object);
  sock_waits_.reset();
  auto resolver = std::move(resolver_);
  auto fds = std::exchange(fds_, {});
  fds.clear();
  std::vector<HandleObject*> incoming;
  {
    const std::lock_guard lock(incoming_mutex_);
    incoming.swap(incoming_);
    has_incoming_.store(false);
  }
  for (HandleObject* handle : incoming) drop_handle(handle);
  resolver.reset();  // its threads wake the reactor without asking anybody
  reactor_.reset();  // cuts off the watchers of transports that are still open
  transports_.clear();
  const auto held = std::exchange(held_, {});
  for (PyObject* transport : held) Py_DECREF(transport);
}

void Loop::push_threadsafe(HandleObject* handle) {
  {
    const std::lock_guard lock(incoming_mutex_);
    incoming_.push_back(handle);
  }
  nudge();
}

void Loop::nudge() {
  has_incoming_.store(true);
  // Who runs a lent loop may be asleep at any time. No reactor: the loop was closed while the handle was made, which may run any code.
  if (reactor_ && (asleep_.load() || lent_)) reactor_->wake();
}

void Loop::add_timer(HandleObject* timer) {
  // Rounded up, in more digits than a double has: a timer must never be early, not even by one of them.
  const long double ns = static_cast<long double>(timer->when) * 1e9L;
  std::uint64_t due = 0;
  if (ns >= 9e18L)
    due = Reactor::kNever - 1;
  else if (ns > 0) {
    due = static_cast<std::uint64_t>(ns);
    if (static_cast<long double>(due) < ns) ++due;
  }
  timer->scheduled = true;
  timers_.add(due, timer);
}

void Loop::remove_timer(HandleObject* timer) {
  timers_.remove(timer);
  timer->scheduled = false;
  Py_DECREF(timer);
}

void Loop::fetch_incoming() {
  std::vector<HandleObject*> incoming;
  {
    const std::lock_guard lock(incoming_mutex_);
    incoming.swap(incoming_);
    has_incoming_.store(false);
  }
  for (HandleObject* handle : incoming) ready_.push({nullptr, reinterpret_cast<PyObject*>(handle)});
  if (!resolver_ || !resolver_->has_answers()) return;
  Py_INCREF(object());
  ready_.push({Resolver::deliver, object()});
}

void Loop::take_due() {
  if (timers_.empty()) return;
  const std::uint64_t now = monotonic_ns();
  while (!timers_.empty() && timers_.next_due() <= now) {
    HandleObject* timer = timers_.take();
    timer->scheduled = false;
    push(timer);
  }
}

/// Where what we would wait for is there already, again and again, handing the GIL to nobody and taking it back costs more than to look first.
// A system call makes the processor forget where calls return to (a mitigation of the kernel's), so that each return that follows is a guess gone wrong:
// what every turn does is one function.
[[gnu::always_inline]] inline bool Loop::finds_at_once() {
  if (found_ < kSurelyFinds && ++waits_ % kTryOneOf != 0) return false;
  if (others_exist()) return false;
  reactor_->poll();
  const bool found = reactor_->has_events() || has_incoming_.load();
  found_ = found ? found_ + 1 : 0;
  return found;
}

[[gnu::always_inline]] inline void Loop::wait(const Gil& gil) {
  const std::uint64_t moment = next_moment();
  if (moment != Reactor::kNever && moment <= monotonic_ns()) return reactor_->poll();
  if (finds_at_once()) return;
  reactor_->be_wakeable();
  asleep_.store(true);
  if (has_incoming_.load()) {
    reactor_->poll();
  } else {
    const GilRelease released(gil);
    reactor_->wait(moment);
  }
  asleep_.store(false);
}

[[gnu::always_inline]] inline void Loop::look(const Gil& gil, bool may_wait) {
  // What has been noted and not told, because a callback ended the run, is not noted again where libuv has stopped watching.
  if (!has_ready() && may_wait && !stopping_ && !has_incoming_.load(std::memory_order_acquire) && !reactor_->has_events()) {
    wait(gil);
    has_waited_ = true;
    return;
  }
  const std::uint64_t now = monotonic_ns();
  if (std::exchange(has_waited_, false)) looked_ = now;
  if (!ready_.empty() && !stopping_ && now - looked_ < kLookEveryNs) return;
  looked_ = now;
  if (others_exist()) {
    const GilRelease offered(gil);
    reactor_->poll();
  } else {
    reactor_->poll();
  }
}

bool Loop::run_chore(const Gil& gil, const Entry& entry) {
  const SlowWatch watch(*this, entry.object);
  return entry.chore(gil, entry.object);
}

bool Loop::run_ready(const Gil& gil, std::size_t count) {
  for (std::size_t n = count; n > 0 && !ready_.empty(); --n) {
    if (lent_ && reactor_ && reactor_->is_foreign()) return true;  // one of them forked; what comes after it is the parent's to do
    const Entry entry = ready_.pop();
    const bool goes_on = entry.chore ? run_chore(gil, entry) : run_handle(gil, reinterpret_cast<HandleObject*>(entry.object));
    Py_DECREF(entry.object);
    if (!goes_on) return false;
  }
  return true;
}

[[gnu::always_inline]] inline bool Loop::run_callbacks(const Gil& gil) {
  take_incoming();
  const std::size_t before = ready_.size();
  take_due();
  const std::size_t due = ready_.size() - before;
  if (!run_ready(gil, before)) return false;
  if (reactor_ && reactor_->has_events() && !reactor_->dispatch()) return false;
  // What these callbacks queued has its turn next; with none before, what the watchers queued need not wait for it.
  return run_ready(gil, before == 0 && !stopping_ ? ready_.size() : due);
}

bool Loop::run_last(const Gil& gil) {
  if (lent_ && reactor_ && reactor_->is_foreign()) return true;  // one of the callbacks forked; what comes after it is the parent's to do
  Ref pending;
  // What TLS had put off is a write to the connection below, which may put it off.
  for (int layers = 4; layers > 0 && !last_.empty(); --layers)
    for (const Entry& entry : std::exchange(last_, {})) {
      if (!run_chore(gil, entry)) {
        Ref raised = Ref::steal(compat::take_raised());
        if (!pending) pending = std::move(raised);
      }
      Py_DECREF(entry.object);
    }
  return after_the_rest(std::move(pending), true);
}

[[gnu::always_inline]] inline bool Loop::do_step(const Gil& gil) {
  struct Turn {
    int& depth;
    explicit Turn(int& turns) : depth(++turns) {}
    ~Turn() { --depth; }
  } const turn(in_turns_);
  ++turns_;
  ended_by_task_ = false;
  bool goes_on = run_callbacks(gil);
  if (!last_.empty()) {
    Ref pending = Ref::steal(goes_on ? nullptr : compat::take_raised());
    const bool done = run_last(gil);
    goes_on = after_the_rest(std::move(pending), goes_on && done);
  }
  return goes_on && (!sock_waits_ || !ready_.empty() || sock_waits_->wake_closed(gil));
}

bool Loop::step(const Gil& gil) { return do_step(gil); }

bool Loop::due() const {
  return has_ready() || has_incoming_.load(std::memory_order_acquire) || (reactor_ && reactor_->has_events()) ||
         (!timers_.empty() && timers_.next_due() <= monotonic_ns());
}

[[gnu::always_inline]] inline bool Loop::do_turn(const Gil& gil, bool may_wait) {
  if (reactor_->is_foreign() && !reactor_->renew()) [[unlikely]] {
    PyErr_SetString(PyExc_RuntimeError, "this event loop belongs to the parent process; make a new one in a forked child");
    return false;
  }
  if (sock_waits_ && sock_waits_->is_foreign() && !sock_waits_->renew(gil)) [[unlikely]] return false;
  if (resolver_ && resolver_->is_foreign()) [[unlikely]] resolver_->renew();
  look(gil, may_wait);
  // Signal handlers of Python: their byte has ended our wait, and nothing else would run them while callbacks are C functions.
  if (PyErr_CheckSignals() != 0) return false;
  return do_step(gil);
}

bool Loop::turn(const Gil& gil, bool may_wait) { return do_turn(gil, may_wait); }

bool Loop::run(const Gil& gil) {
  reactor_->begin_run();
  // A signal that another thread took before our wake-up descriptor was set has written no byte that would end the first wait.
  bool ok = PyErr_CheckSignals() == 0;
  while (ok && (ok = do_turn(gil, true)) && !stopping_) {
  }
  if (reactor_) reactor_->end_run();
  return ok;
}

bool Loop::report(const Gil&, const char* message, PyObject* exception, PyObject* more) {
  Ref saved = Ref::steal(compat::take_raised());
  const Ref known = Ref::steal(
      PyObject_CallMethod(state_.helpers.get(), "report", "OsOO", object(), message, exception ? exception : Py_None, more ? more : Py_None));
  if (!known && ends_the_run()) return false;
  if (!known) PyErr_WriteUnraisable(object());
  if (saved) compat::restore_raised(saved.release());
  return true;
}

bool Loop::check_thread(const Gil&) const {
  if (!debug_ || thread_ == 0 || thread_ == PyThread_get_thread_ident()) [[likely]] return true;
  PyErr_SetString(PyExc_RuntimeError, "Non-thread-safe operation invoked on an event loop other than the current one");
  return false;
}

bool Loop::check_not_closed() const {
  if (!closed_) [[likely]] return true;
  PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
  return false;
}

bool Loop::soon(const Gil&, Chore chore, PyObject* owner) {
  if (!check_not_closed()) return false;
  Py_INCREF(owner);
  ready_.push({chore, owner});
  return true;
}

bool Loop::at_end_of_turn(const Gil&, Chore chore, PyObject* owner) {
  if (!check_not_closed()) return false;
  Py_INCREF(owner);
  last_.push_back({chore, owner});
  return true;
}

void Loop::hold(const Gil&, PyObject* transport) {
  if (held_.insert(transport).second) Py_INCREF(transport);
}

void Loop::let_go(PyObject* transport) {
  if (held_.erase(transport) > 0) Py_DECREF(transport);
}

void Loop::claim(int fd, PyObject* transport) {
  transports_[fd] = transport;
  if (const auto found = fds_.find(fd); found != fds_.end()) {
    const auto watch = std::move(found->second);
    fds_.erase(found);
  }
}

bool Loop::check_no_transport(const Gil&, int fd) const {
  const auto found = transports_.find(fd);
  if (found == transports_.end()) return true;
  PyErr_Format(PyExc_RuntimeError, "File descriptor %d is used by transport %R", fd, found->second);
  return false;
}

SockWaits* Loop::make_sock_waits(const Gil& gil) {
  if (sock_waits_) return sock_waits_.get();
  if (closed_ || !reactor_) {
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return nullptr;
  }
  sock_waits_ = SockWaits::make(gil, *this);
  return sock_waits_.get();
}

Resolver* Loop::make_resolver(const Gil&) {
  if (!resolver_) {
    if (closed_ || !reactor_) {
      PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
      return nullptr;
    }
    resolver_ = std::make_unique<Resolver>(*this);
  }
  return resolver_.get();
}

char* Loop::scratch() {
  if (!scratch_) scratch_ = std::make_unique_for_overwrite<char[]>(kScratch);
  return scratch_.get();
}

int Loop::traverse(visitproc visit, void* arg) const {
  if (const int stop = task_factory_.traverse(visit, arg)) return stop;
  auto& self = const_cast<Loop&>(*this);  // looking only; the containers have no const access
  for (std::size_t i = 0; i < self.ready_.size(); ++i) {
    const Entry& entry = self.ready_.at(i);
    const int stop = entry.chore ? visit(entry.object, arg) : visit_held(reinterpret_cast<HandleObject*>(entry.object), visit, arg);
    if (stop) return stop;
  }
  for (const Entry& entry : last_)
    if (const int stop = visit(entry.object, arg)) return stop;
  if (const int stop = timers_.each([&](HandleObject* timer) { return visit_held(timer, visit, arg); })) return stop;
  if (sock_waits_)
    if (const int stop = sock_waits_->traverse(visit, arg)) return stop;
  if (resolver_)
    if (const int stop = resolver_->traverse(visit, arg)) return stop;
  for (PyObject* transport : held_)
    if (const int stop = visit(transport, arg)) return stop;
  for (const auto& [fd, watch] : fds_)
    if (const int stop = watch->traverse(visit, arg)) return stop;
  return 0;
}

}  // namespace pyw::aio
