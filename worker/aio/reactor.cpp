#include "aio/reactor.hpp"

#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fork_generation.hpp"

namespace pyw::aio {

Reactor::Reactor() : generation_(fork_generation()) {}

Result<std::unique_ptr<Reactor>> Reactor::make() {
  std::unique_ptr<Reactor> made(new Reactor());
  auto loop = uv::Loop::make();
  if (!loop) return loop.error();
  made->own_ = loop.take();
  made->loop_ = made->own_->get();
  if (auto opened = made->open(); !opened) return opened.error();
  return made;
}

Result<std::unique_ptr<Reactor>> Reactor::borrow(uv_loop_t* loop) {
  std::unique_ptr<Reactor> made(new Reactor());
  made->loop_ = loop;
  if (auto opened = made->open(); !opened) return opened.error();
  return made;
}

Result<void> Reactor::open() {
  auto wake = uv::open<uv_async_t>("uv_async", this, [&](uv_async_t* h) { return uv_async_init(loop_, h, [](uv_async_t*) {}); });
  if (!wake) return wake.error();
  wake_ = wake.take();
  timer_fd_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer_fd_) return Error{Errc::os, std::string("timerfd_create: ") + std::strerror(errno)};
  return {};
}

Reactor::~Reactor() {
  if (!is_foreign()) return;
  // What libuv would close it would first take out of the epoll set, which is the parent's, too. Its memory goes with the process.
  (void)wake_.release();
  (void)timer_.release();
  if (!own_) return;
  ::close(uv_backend_fd(loop_));
  (void)own_.release();
}

bool Reactor::is_foreign() const { return generation_ != fork_generation(); }

void Reactor::check_started() {
  for (Watcher* watcher : started_)
    if (watcher) watcher->check();
  started_.clear();
}

void Reactor::arm(std::uint64_t moment) {
  check_started();
  const bool disarm = moment == kNever && armed_ != kNever;
  // One that is armed for earlier stays: it costs one look at the heap, and most timers are cancelled before their time.
  if (!fired_ && moment >= armed_ && !disarm) return;
  if (!fired_ && moment == kNever && armed_ == kNever) return;
  if (!timer_) {
    auto watched = uv::open<uv_poll_t>("timer", this, [&](uv_poll_t* h) { return uv_poll_init(loop_, h, timer_fd_.get()); });
    PYW_CHECK(watched, watched ? "" : watched.error().message.c_str());
    timer_ = watched.take();
    uv_poll_start(timer_.get(), UV_READABLE, [](uv_poll_t* handle, int, int) {
      auto* self = static_cast<Reactor*>(handle->data);
      if (!self) return;
      self->fired_ = true;
      std::uint64_t times = 0;
      if (self->holding_) (void)!::read(self->timer_fd_.get(), &times, sizeof times);  // else the next arm() silences it
    });
  }
  itimerspec when{};
  if (moment != kNever) {
    when.it_value.tv_sec = static_cast<time_t>(moment / 1'000'000'000u);
    when.it_value.tv_nsec = static_cast<long>(moment % 1'000'000'000u);
    if (moment == 0) when.it_value.tv_nsec = 1;  // zero would disarm
  }
  PYW_CHECK(::timerfd_settime(timer_fd_.get(), TFD_TIMER_ABSTIME, &when, nullptr) == 0, "timerfd_settime");
  armed_ = moment;
  fired_ = false;
}

void Reactor::wait(std::uint64_t moment) {
  arm(moment);
  uv_run(loop_, UV_RUN_ONCE);
}

void Reactor::poll() {
  check_started();
  uv_run(loop_, UV_RUN_NOWAIT);
}

void Reactor::note(Watcher& watcher, int events) {
  if (watcher.ready_ == 0) ready_.push_back(&watcher);
  watcher.ready_ |= events;
}

void Reactor::forget(Watcher& watcher) {
  if (std::exchange(watcher.started_, false))
    for (auto& slot : started_)
      if (slot == &watcher) slot = nullptr;
  if (watcher.ready_ == 0) return;
  watcher.ready_ = 0;
  for (auto& slot : ready_)
    if (slot == &watcher) slot = nullptr;
}

bool Reactor::dispatch() {
  // Watchers may be ended, and others started, by what is told; nothing is noted meanwhile, unless a nested loop runs, which is then told here.
  bool ok = true;
  std::size_t told = 0;
  while (ok && told < ready_.size()) {
    Watcher* watcher = ready_[told++];
    if (!watcher) continue;
    const int events = std::exchange(watcher->ready_, 0) & watcher->events_;
    ready_[told - 1] = nullptr;
    if (watcher->held_) watcher->resume();
    if (events != 0) ok = watcher->told_(watcher->owner_, events);
  }
  if (told >= ready_.size())
    ready_.clear();
  else
    ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(told));
  return ok;
}

Result<void> Watcher::watch(int fd, int events) {
  if (events_ == events) return {};
  if (reactor_.is_foreign()) return {};
  if (!poll_) {
    if (events == 0) return {};
    auto opened = uv::open<uv_poll_t>("watching a descriptor", this, [&](uv_poll_t* h) {
      const int rc = uv_poll_init(reactor_.loop_, h, fd);
      errno = rc < 0 ? -rc : 0;
      return rc;
    });
    if (!opened) return opened.error();
    poll_ = opened.take();
  }
  events_ = events;
  ready_ &= events;
  held_ = false;
  if (events == 0) {
    uv_poll_stop(poll_.get());
    reactor_.forget(*this);
    return {};
  }
  resume();
  return {};
}

void Watcher::resume() {
  held_ = false;
  if (events_ == 0 || !poll_) return;
  uv_poll_start(poll_.get(), events_, [](uv_poll_t* handle, int status, int events) {
    auto* self = static_cast<Watcher*>(handle->data);
    if (!self) return;
    // libuv stops a handle whose descriptor has an error. To us that is an event like others: the next system call on it says what it is.
    self->reactor_.note(*self, status < 0 ? self->events_ : events);
    if (self->reactor_.holding_ && status == 0) uv_poll_stop(handle);
    if (self->reactor_.holding_ || status < 0) self->held_ = true;
  });
  if (!std::exchange(started_, true)) reactor_.started_.push_back(this);
}

/// libuv registers a descriptor when it next waits, and aborts the process if it cannot: when Python code has closed it meanwhile, or closed it
/// and opened a file that got its number. Such a one is not watched.
void Watcher::check() {
  started_ = false;
  if (events_ == 0 || !poll_) return;
  uv_os_fd_t fd = -1;
  struct stat what;
  if (uv_fileno(reinterpret_cast<uv_handle_t*>(poll_.get()), &fd) == 0 && ::fstat(fd, &what) == 0) {
    if (S_ISSOCK(what.st_mode) || S_ISFIFO(what.st_mode)) return;
    epoll_event none{};
    const int set = uv_backend_fd(reactor_.loop_);
    if (::epoll_ctl(set, EPOLL_CTL_ADD, fd, &none) == 0) {
      ::epoll_ctl(set, EPOLL_CTL_DEL, fd, nullptr);
      return;
    }
    if (errno == EEXIST) return;
  }
  uv_poll_stop(poll_.get());
  events_ = 0;
  reactor_.forget(*this);
}

void Watcher::close() {
  reactor_.forget(*this);
  events_ = 0;
  if (!poll_) return;
  if (reactor_.is_foreign())
    (void)poll_.release();
  else
    poll_.reset();
}

}  // namespace pyw::aio
