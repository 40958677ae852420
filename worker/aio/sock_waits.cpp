#include "aio/sock_waits.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "aio/sock_call.hpp"

namespace pyw::aio {
namespace {

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
  auto slots = std::exchange(slots_, {});
  for (auto& [fd, slot] : slots) drop_all(slot.waiting);
}

/// In a forked child: makes the set the child's own. False: OSError is pending.
bool SockWaits::renew() {
  if (generation_ == fork_generation()) return true;
  if (!loop_.reactor().renew()) return true;  // it will never run here: what waits, waits for ever
  UniqueFd set(::epoll_create1(EPOLL_CLOEXEC));
  const bool made = static_cast<bool>(set);
  if (made) {
    watcher_.close();
    set_ = std::move(set);
  }
  if (!made || !watcher_.watch(set_.get(), Watcher::kReadable)) {
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
  }
  generation_ = fork_generation();
  for (auto& [fd, slot] : slots_) {
    if (slot.id == 0) continue;
    slot.id = 0;
    // A socket that has been closed since is refused, and its calls, if any, wait for ever, as with asyncio.
    if (!slot.waiting.empty() && !ask(fd, slot, slot.mask)) PyErr_Clear();
  }
  return true;
}

bool SockWaits::wait(const Gil&, PyObject* sock, int fd, int event, SockCallObject* call) {
  if (!renew()) return false;
  const std::uint32_t wanted = event == Watcher::kReadable ? kIn : kOut;
  Slot& slot = slots_[fd];
  if (slot.id == 0 || !is_the_one(slot.sock, sock)) {
    // Another socket with this number was here, or another object with the same socket. Its calls, if any, wait for ever, as with asyncio.
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
  return true;
}

/// Registers for these events, as a new one if the slot has no id. False: OSError is pending.
bool SockWaits::ask(int fd, Slot& slot, std::uint32_t mask) {
  if (generation_ != fork_generation()) return true;  // the set is the parent's
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
    if (broken || (events & (writes ? kOut : kIn)))
      woken.push_back(call);
    else
      slot.waiting[kept++] = call;
  }
  slot.waiting.resize(kept);
  // A unix socket says each time when its peer has read something.
  if (!writers && !broken && events == kOut && (slot.mask & kOut) && !ask(fd, slot, kIn)) PyErr_Clear();
}

bool SockWaits::told(void* owner, int) {
  const GilHeld gil;
  auto* self = static_cast<SockWaits*>(owner);
  if (self->generation_ != fork_generation()) {
    if (!self->renew()) PyErr_WriteUnraisable(self->loop_.object());
    return true;
  }
  constexpr int kMost = 128;
  epoll_event events[kMost];
  const int count = ::epoll_wait(self->set_.get(), events, kMost, 0);
  auto woken = std::move(self->woken_);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t data = events[i].data.u64;
    self->take(static_cast<int>(data & 0xffffffffu), static_cast<std::uint32_t>(data >> 32), events[i].events, woken);
  }
  // Waking may run Python code, in debug mode for instance. It may even close the loop, and so end `self`.
  Loop& loop = self->loop_;
  const Ref alive = Ref::share(gil, loop.object());
  bool goes_on = true;
  for (SockCallObject* call : woken) {
    goes_on = wake(gil, call) && goes_on;
    Py_DECREF(reinterpret_cast<PyObject*>(call));
  }
  woken.clear();
  if (!loop.closed()) self->woken_ = std::move(woken);
  return goes_on;
}

int SockWaits::traverse(visitproc visit, void* arg) const {
  for (const auto& [fd, slot] : slots_)
    for (SockCallObject* call : slot.waiting)
      if (const int stop = visit(reinterpret_cast<PyObject*>(call), arg)) return stop;
  return 0;
}

}  // namespace pyw::aio
