#include "aio/reactor.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/clock.hpp"

namespace pyw::aio {
namespace {

/// The kernel gives out the lowest number that is free, so those are the ones that come back. At most 100 KiB for a loop.
constexpr std::size_t kMostParked = 512;

/// Sockets and pipes always can; of the others libuv has to find out.
bool surely_can_be_watched(int fd) {
  struct stat what;
  return ::fstat(fd, &what) == 0 && (S_ISSOCK(what.st_mode) || S_ISFIFO(what.st_mode));
}

bool can_be_watched(int epoll, uv_handle_t* handle) {
  int fd = -1;
  epoll_event nothing{};
  return uv_fileno(handle, &fd) == 0 && ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &nothing) == 0;
}

}  // namespace

Reactor::Reactor() : generation_(fork_generation()) {}

Result<std::unique_ptr<Reactor>> Reactor::make() {
  std::unique_ptr<Reactor> made(new Reactor());
  auto loop = uv::Loop::make();
  if (!loop) return loop.error();
  made->own_ = loop.take();
  made->loop_ = made->own_->get();
  return made;
}

Result<std::unique_ptr<Reactor>> Reactor::borrow(uv_loop_t* loop) {
  std::unique_ptr<Reactor> made(new Reactor());
  made->loop_ = loop;
  made->be_wakeable();
  return made;
}

void Reactor::be_wakeable() {
  if (wake_) return;
  auto wake = uv::open<uv_async_t>("uv_async", this, [&](uv_async_t* h) { return uv_async_init(loop_, h, [](uv_async_t*) {}); });
  PYW_CHECK(wake, "uv_async_init");  // the loop has the descriptor for it already
  wake_ = wake.take();
}

Reactor::~Reactor() {
  while (watchers_) {
    Watcher* watcher = watchers_;
    watcher->close();
    watchers_ = watcher->after_;
    watcher->before_ = watcher->after_ = nullptr;
    watcher->reactor_ = nullptr;
    if (watchers_) watchers_->before_ = nullptr;
  }
  if (!is_foreign()) return;
  // What libuv would close it would first take out of the epoll set, which is the parent's, too. Its memory goes with the process.
  (void)wake_.release();
  (void)timer_.release();
  (void)before_poll_.release();
  (void)coarse_timer_.release();
  for (auto& poll : parked_) (void)poll.release();
  if (!own_) return;
  ::close(uv_backend_fd(loop_));
  (void)own_.release();
}

bool Reactor::renew() {
  if (!is_foreign()) return true;
  if (!own_ || (runs_ && !::pthread_equal(runner_, ::pthread_self()))) return false;
  {
    // The code that forked may have closed descriptors since; libuv aborts when it cannot watch one again. Stopping these says nothing to the
    // parent's epoll set: what is under the number here is not what the parent watches.
    UniqueFd probe(::epoll_create1(EPOLL_CLOEXEC));
    int fd = probe.get();
    if (!probe) return false;
    uv_walk(loop_, [](uv_handle_t* handle, void* epoll) {
      if (handle->type == UV_POLL && uv_is_active(handle) && !can_be_watched(*static_cast<int*>(epoll), handle))
        uv_poll_stop(reinterpret_cast<uv_poll_t*>(handle));
    }, &fd);
  }
  if (timer_fd_) {
    // Setting a timerfd that both have would set the parent's. The new one gets the number under which libuv knows it.
    UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer || ::dup3(timer.get(), timer_fd_.get(), O_CLOEXEC) < 0) return false;
  }
  {
    const uv::AboveStandard numbers;
    if (uv_loop_fork(loop_) != 0) return false;
  }
  armed_ = kNever;
  fired_ = false;
  generation_ = fork_generation();
  return true;
}

void Reactor::arm(std::uint64_t moment) {
  const bool disarm = moment == kNever && armed_ != kNever;
  // One that is armed for earlier stays: it costs one look at the heap, and most timers are cancelled before their time.
  if (!fired_ && moment >= armed_ && !disarm) return;
  set_timer(moment);
}

void Reactor::arm_exactly(std::uint64_t moment) {
  if (fired_ || moment != armed_) set_timer(moment);
}

bool Reactor::open_timer() {
  if (timer_) return true;
  timer_fd_ = under_free_number(UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)));
  if (!timer_fd_) return false;
  auto watched = uv::open<uv_poll_t>("timer", this, [&](uv_poll_t* h) { return uv_poll_init(loop_, h, timer_fd_.get()); });
  if (!watched) {
    timer_fd_.reset();
    return false;
  }
  timer_ = watched.take();
  uv_poll_start(timer_.get(), UV_READABLE, [](uv_poll_t* handle, int, int) {
    auto* self = static_cast<Reactor*>(handle->data);
    if (!self) return;
    self->fired_ = true;
    std::uint64_t times = 0;
    if (self->holding_) (void)!::read(self->timer_fd_.get(), &times, sizeof times);  // else the next arm() silences it
  });
  return true;
}

void Reactor::set_timer(std::uint64_t moment) {
  armed_ = moment;
  fired_ = false;
  if (!open_timer()) return set_coarse_timer(moment);
  if (coarse_timer_) coarse_timer_.reset();
  itimerspec when{};
  if (moment != kNever) {
    when.it_value.tv_sec = static_cast<time_t>(moment / 1'000'000'000u);
    when.it_value.tv_nsec = static_cast<long>(moment % 1'000'000'000u);
    if (moment == 0) when.it_value.tv_nsec = 1;  // zero would disarm
  }
  PYW_CHECK(::timerfd_settime(timer_fd_.get(), TFD_TIMER_ABSTIME, &when, nullptr) == 0, "timerfd_settime");
}

/// While the process has no descriptor left for ours: libuv's own, which may be late by a millisecond or two, and is asked for anew each time.
void Reactor::set_coarse_timer(std::uint64_t moment) {
  if (!coarse_timer_) {
    auto opened = uv::open<uv_timer_t>("coarse timer", this, [&](uv_timer_t* h) { return uv_timer_init(loop_, h); });
    PYW_CHECK(opened, "uv_timer_init");
    coarse_timer_ = opened.take();
  }
  uv_timer_stop(coarse_timer_.get());
  if (moment == kNever) return;
  const std::uint64_t now = monotonic_ns();
  uv_update_time(loop_);
  uv_timer_start(coarse_timer_.get(), [](uv_timer_t* handle) {
    auto* self = static_cast<Reactor*>(handle->data);
    if (!self) return;
    self->fired_ = true;
    self->wake();  // uv_run may have called us before its wait, which would have no end now
  }, moment > now ? (moment - now) / 1'000'000u + 1 : 0, 0);
}

void Reactor::wait(std::uint64_t moment) {
  be_wakeable();
  arm(moment);
  uv_run(loop_, UV_RUN_ONCE);
}

void Reactor::add_new(Watcher& watcher) {
  if (!before_poll_) {
    auto opened = uv::open<uv_prepare_t>("uv_prepare", this, [&](uv_prepare_t* h) { return uv_prepare_init(loop_, h); });
    PYW_CHECK(opened, "uv_prepare_init");
    before_poll_ = opened.take();
    uv_unref(reinterpret_cast<uv_handle_t*>(before_poll_.get()));
  }
  if (new_.empty())
    uv_prepare_start(before_poll_.get(), [](uv_prepare_t* handle) {
      if (handle->data) static_cast<Reactor*>(handle->data)->prove_new();
    });
  new_.push_back(&watcher);
}

/// libuv registers a descriptor right before it waits, and aborts the process when the kernel refuses it then. Somebody may have closed the
/// descriptor since it was to be watched, and the number may be another file's by now; so we ask first. What is refused is not watched.
void Reactor::prove_new() {
  uv_prepare_stop(before_poll_.get());
  for (Watcher* watcher : std::exchange(new_, {})) {
    if (!watcher) continue;
    watcher->is_new_ = false;
    struct stat what;
    const bool open = ::fstat(watcher->fd_, &what) == 0;
    if (open && (S_ISSOCK(what.st_mode) || S_ISFIFO(what.st_mode))) continue;  // these can always be watched
    epoll_event event{};
    event.events = EPOLLERR;
    event.data.fd = watcher->fd_;  // as libuv sets it, which turns this registration into its own
    if (!open || (::epoll_ctl(uv_backend_fd(loop_), EPOLL_CTL_ADD, watcher->fd_, &event) != 0 && errno != EEXIST))
      uv_poll_stop(watcher->poll_.get());
  }
}

uv::Handle<uv_poll_t> Reactor::take_parked(int fd) {
  return fd >= 0 && static_cast<std::size_t>(fd) < parked_.size() ? std::move(parked_[static_cast<std::size_t>(fd)]) : nullptr;
}

void Reactor::park(int fd, uv::Handle<uv_poll_t> poll) {
  const auto at = static_cast<std::size_t>(fd);
  if (at >= kMostParked) return;  // ends it
  if (at >= parked_.size()) parked_.resize(at + 1);
  uv_poll_stop(poll.get());
  poll->data = nullptr;
  parked_[at] = std::move(poll);
}

bool Reactor::is_owned(int fd) const { return fd >= 0 && static_cast<std::size_t>(fd) < owners_.size() && owners_[static_cast<std::size_t>(fd)]; }

UniqueFd Reactor::under_free_number(UniqueFd fd) const {
  while (is_owned(fd.get())) fd = UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, fd.get() + 1));
  return fd;
}

void Reactor::set_owner(int fd, Watcher* watcher) {
  const auto at = static_cast<std::size_t>(fd);
  if (at >= owners_.size()) owners_.resize(at + 1);
  owners_[at] = watcher;
}

void Reactor::note(Watcher& watcher, int events) {
  if (watcher.ready_ == 0) ready_.push_back(&watcher);
  watcher.ready_ |= events;
}

void Reactor::forget(Watcher& watcher) {
  if (std::exchange(watcher.is_new_, false))
    for (auto& slot : new_)
      if (slot == &watcher) slot = nullptr;
  forget_noted(watcher);
}

/// Invariant: a watcher is in the list if and only if something is noted in it.
void Reactor::forget_noted(Watcher& watcher) {
  if (watcher.ready_ == 0) return;
  watcher.ready_ = 0;
  for (auto& slot : ready_)
    if (slot == &watcher) slot = nullptr;
}

bool Reactor::dispatch() {
  // Watchers may be ended, and others started, by what is told; nothing is noted meanwhile, unless a nested loop runs. That dispatches as well, so
  // the list may be another one after each call: what has been told is null in it, and only that is taken out.
  bool ok = true;
  for (std::size_t i = 0; ok && i < ready_.size(); ++i) {
    Watcher* watcher = std::exchange(ready_[i], nullptr);
    if (!watcher) continue;
    const int events = std::exchange(watcher->ready_, 0) & watcher->events_;
    if (watcher->held_) watcher->resume();
    if (events != 0) ok = watcher->told_(watcher->owner_, events);
  }
  std::erase(ready_, nullptr);
  return ok;
}

Watcher::Watcher(Reactor& reactor, void* owner, Told told) : reactor_(&reactor), after_(reactor.watchers_), owner_(owner), told_(told) {
  if (after_) after_->before_ = this;
  reactor.watchers_ = this;
}

Watcher::~Watcher() {
  close();
  if (!reactor_) return;
  (before_ ? before_->after_ : reactor_->watchers_) = after_;
  if (after_) after_->before_ = before_;
}

Result<void> Watcher::watch(int fd, int events) {
  if (events_ == events) return {};
  if (!reactor_) {
    errno = EBADF;
    return Error{Errc::os, "the event loop is closed"};
  }
  if (reactor_->is_foreign() && !reactor_->renew()) return {};
  if (!poll_) {
    if (events == 0) return {};
    if (reactor_->is_owned(fd)) {
      duplicate_ = reactor_->under_free_number(UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)));
      if ((fd = duplicate_.get()) < 0) return Error{Errc::os, "watching a descriptor"};
    }
    if (trusted_ || surely_can_be_watched(fd)) poll_ = reactor_->take_parked(fd);
    if (poll_) poll_->data = this;
  }
  if (!poll_) {
    auto opened = uv::open<uv_poll_t>("watching a descriptor", this, [&](uv_poll_t* h) {
      const int rc = uv_poll_init(reactor_->loop_, h, fd);
      errno = rc < 0 ? -rc : 0;
      return rc;
    });
    if (!opened) return opened.error();
    poll_ = opened.take();
  }
  if (fd_ < 0) reactor_->set_owner(fd_ = fd, this);
  events_ = events;
  if ((ready_ & events) == 0) reactor_->forget_noted(*this);
  ready_ &= events;
  held_ = false;
  if (events == 0) {
    uv_poll_stop(poll_.get());
    reactor_->forget(*this);
    return {};
  }
  resume();
  return {};
}

void Watcher::resume() {
  held_ = false;
  if (events_ == 0 || !poll_) return;
  if (!trusted_ && !std::exchange(is_new_, true)) {
    reactor_->add_new(*this);
  }
  uv_poll_start(poll_.get(), events_, [](uv_poll_t* handle, int status, int events) {
    auto* self = static_cast<Watcher*>(handle->data);
    if (!self) return;
    // libuv stops a handle whose descriptor has an error. To us that is an event like others: the next system call on it says what it is.
    self->reactor_->note(*self, status < 0 ? self->events_ : events);
    if (self->reactor_->holding_ && status == 0) uv_poll_stop(handle);
    if (self->reactor_->holding_ || status < 0) self->held_ = true;
  });
}

void Watcher::close() {
  if (!reactor_) return;
  reactor_->forget(*this);
  events_ = 0;
  if (!poll_) return;
  const int fd = std::exchange(fd_, -1);
  reactor_->set_owner(fd, nullptr);
  if (reactor_->is_foreign())
    (void)poll_.release();
  else
    reactor_->park(fd, std::move(poll_));
  duplicate_.reset();
}

}  // namespace pyw::aio
