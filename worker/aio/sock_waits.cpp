#include "aio/sock_waits.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "aio/sock_call.hpp"

namespace pyw::aio {
namespace {

constexpr int kLooks = 8;
constexpr std::uint32_t kIn = EPOLLIN, kOut = EPOLLOUT;

bool is_the_one(const Ref& weak, PyObject* sock) {
  if (!weak) return false;
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* alive = nullptr;
  if (PyWeakref_GetRef(weak.get(), &alive) <= 0) return false;
  Py_DECREF(alive);
  return alive == sock;
#else
  return PyWeakref_GET_OBJECT(weak.get()) == sock;
#endif
}

void drop_all(std::vector<SockCallObject*>& calls) {
  for (SockCallObject* call : std::exchange(calls, {})) Py_DECREF(reinterpret_cast<PyObject*>(call));
}

}  // namespace

std::unique_ptr<SockWaits> SockWaits::make(const Gil&, Loop& loop) {
  UniqueFd set(::epoll_create1(EPOLL_CLOEXEC));
  const int number = set.get();
  std::unique_ptr<SockWaits> made;
  if (set) made.reset(new SockWaits(loop, std::move(set)));
  if (made && made->watcher_.watch(number, Watcher::kReadable)) return made;
  PyErr_SetFromErrno(PyExc_OSError);
  return nullptr;
}

SockWaits::~SockWaits() {
  watcher_.close();
  first_ = last_ = nullptr;
  auto slots = std::exchange(slots_, {});
  for (auto& [fd, slot] : slots) drop_all(slot.waiting);
}

bool SockWaits::renew(const Gil&) {
  Reactor& reactor = loop_.reactor();
  if (reactor.is_foreign() && !reactor.renew()) {
    PyErr_SetString(PyExc_RuntimeError, "this event loop belongs to the parent process; make a new one in a forked child");
    return false;
  }
  UniqueFd set(::epoll_create1(EPOLL_CLOEXEC));
  const int number = set.get();
  if (set) {
    watcher_.close();  // while the number is still that of the old one
    set_ = std::move(set);
  }
  if (number < 0 || !watcher_.watch(number, Watcher::kReadable)) {
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
  }
  generation_ = fork_generation();
  for (auto& [fd, slot] : slots_) {
    slot.id = 0;
    if (!slot.waiting.empty() && !ask(fd, slot, slot.mask)) PyErr_Clear();  // closed since; wake_closed() finds its calls
  }
  return true;
}

bool SockWaits::wait(const Gil& gil, PyObject* sock, int fd, int event, SockCallObject* call) {
  if (is_foreign() && !renew(gil)) return false;
  const std::uint32_t wanted = event == Watcher::kReadable ? kIn : kOut;
  Slot& slot = slots_[fd];
  if (slot.id == 0 || !is_the_one(slot.sock, sock)) {
    // Another socket with this number was here, or another object with the same socket. Its calls, if any, are woken by the next event of this one.
    Ref weak = Ref::steal(PyWeakref_NewRef(sock, nullptr));
    if (!weak) return false;
    if (slot.id != 0) (void)::epoll_ctl(set_.get(), EPOLL_CTL_DEL, fd, nullptr);  // most often the kernel has done it
    slot.sock = std::move(weak);
    slot.id = 0;
    if (!ask(fd, slot, wanted)) return false;
  } else if ((slot.mask & wanted) == 0 && !ask(fd, slot, slot.mask | wanted)) {
    return false;
  }
  Py_INCREF(reinterpret_cast<PyObject*>(call));
  slot.waiting.push_back(call);
  link(call);
  return true;
}

void SockWaits::link(SockCallObject* call) {
  call->before = last_;
  call->after = nullptr;
  (last_ ? last_->after : first_) = call;
  last_ = call;
}

void SockWaits::unlink(SockCallObject* call) {
  (call->before ? call->before->after : first_) = call->after;
  (call->after ? call->after->before : last_) = call->before;
  call->before = call->after = nullptr;
}

bool SockWaits::wake_closed(const Gil& gil) {
  std::vector<SockCallObject*> lost;
  SockCallObject* const end = last_;
  for (int looks = 0; looks < kLooks && first_; ++looks) {
    SockCallObject* call = first_;
    unlink(call);
    link(call);  // the next time others have their turn
    if (has_lost_its_socket(gil, call)) {
      Py_INCREF(reinterpret_cast<PyObject*>(call));
      lost.push_back(call);
    }
    if (call == end) break;
  }
  for (SockCallObject* call : lost) leave(call->fd, call);
  return wake_all(gil, lost);
}

/// Takes the references.
bool SockWaits::wake_all(const Gil& gil, const std::vector<SockCallObject*>& calls) {
  // Waking may run Python code, in debug mode for instance. It may even close the loop, and so end `this`.
  const Ref alive = Ref::share(gil, loop_.object());
  bool goes_on = true;
  for (SockCallObject* call : calls) {
    goes_on = wake(gil, call) && goes_on;
    Py_DECREF(reinterpret_cast<PyObject*>(call));
  }
  return goes_on;
}

/// Registers for these events, as a new one if the slot has no id. False: OSError is pending.
bool SockWaits::ask(int fd, Slot& slot, std::uint32_t mask) {
  const bool anew = slot.id == 0;
  if (anew && (slot.id = ++last_id_) == 0) slot.id = ++last_id_;
  epoll_event what{};
  what.events = mask | EPOLLET;
  what.data.u64 = (std::uint64_t{slot.id} << 32) | static_cast<std::uint32_t>(fd);
  int failed = ::epoll_ctl(set_.get(), anew ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &what);
  if (failed && errno == (anew ? EEXIST : ENOENT)) failed = ::epoll_ctl(set_.get(), anew ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &what);
  if (failed) {
    slot.id = 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
  }
  slot.mask = mask;
  return true;
}

void SockWaits::leave(int fd, SockCallObject* call) {
  const auto found = slots_.find(fd);
  if (found == slots_.end()) return;
  auto& waiting = found->second.waiting;
  const auto at = std::find(waiting.begin(), waiting.end(), call);
  if (at == waiting.end()) return;
  waiting.erase(at);
  unlink(call);
  Py_DECREF(reinterpret_cast<PyObject*>(call));
}

void SockWaits::take(int fd, std::uint32_t id, std::uint32_t events, std::vector<SockCallObject*>& woken) {
  const auto found = slots_.find(fd);
  if (found == slots_.end() || found->second.id != id) return;
  Slot& slot = found->second;
  const std::uint32_t broken = events & (EPOLLERR | EPOLLHUP);
  std::size_t kept = 0;
  bool writers = false;
  for (SockCallObject* call : slot.waiting) {
    const bool writes = call->event() == Watcher::kWritable;
    writers = writers || writes;
    if (broken || (events & (writes ? kOut : kIn))) {
      unlink(call);
      woken.push_back(call);
    } else
      slot.waiting[kept++] = call;
  }
  slot.waiting.resize(kept);
  // A unix socket says each time when its peer has read something.
  if (!writers && !broken && events == kOut && (slot.mask & kOut) && !ask(fd, slot, kIn)) PyErr_Clear();
}

bool SockWaits::told(void* owner, int) {
  const GilHeld gil;
  auto* self = static_cast<SockWaits*>(owner);
  constexpr int kMost = 128;
  epoll_event events[kMost];
  if (self->is_foreign()) return true;  // what the parent is to be told
  const int count = ::epoll_wait(self->set_.get(), events, kMost, 0);
  auto woken = std::move(self->woken_);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t data = events[i].data.u64;
    self->take(static_cast<int>(data & 0xffffffffu), static_cast<std::uint32_t>(data >> 32), events[i].events, woken);
  }
  Loop& loop = self->loop_;
  const Ref alive = Ref::share(gil, loop.object());
  const bool goes_on = self->wake_all(gil, woken);
  woken.clear();
  if (!loop.closed()) self->woken_ = std::move(woken);  // else it is gone
  return goes_on;
}

int SockWaits::traverse(visitproc visit, void* arg) const {
  for (const auto& [fd, slot] : slots_)
    for (SockCallObject* call : slot.waiting)
      if (const int stop = visit(reinterpret_cast<PyObject*>(call), arg)) return stop;
  return 0;
}

}  // namespace pyw::aio
