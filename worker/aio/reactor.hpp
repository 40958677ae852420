#pragma once

#include <pthread.h>
#include <uv.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/fork_generation.hpp"
#include "base/unique_fd.hpp"
#include "uv/handle.hpp"

namespace pyw::aio {

class Watcher;

/// What an asyncio loop needs of libuv: waiting until a descriptor is ready, a moment has come or somebody called. libuv's callbacks only
/// note which watchers are ready; dispatch() tells them, after the wait, when the caller holds the GIL again. So nothing of Python runs inside
/// uv_run, and whoever drives a uv loop of their own (the worker's main loop) can lend it: its waits then note our events as well.
///
/// Moments are right to the microsecond: the next one is a timerfd on libuv's poll, because libuv's own timers count milliseconds.
/// Threads: one, but for wake(). GIL: not needed, but for what dispatch() calls. In a forked child nothing here touches what is shared
/// with the parent: an epoll set that both have would be changed for both. A loop that is used there gets one of its own first.
class Reactor {
 public:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  /// With a uv loop of its own. Err(os): descriptors are used up.
  static Result<std::unique_ptr<Reactor>> make();
  /// On a loop that its owner runs; it must outlive the reactor.
  static Result<std::unique_ptr<Reactor>> borrow(uv_loop_t* loop);
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  /// Until something is ready, wake() was called, or `moment` has come (monotonic nanoseconds).
  void wait(std::uint64_t moment);
  /// Looks what is ready and does not wait.
  void poll() {
    if (!wake_) be_wakeable();  // without any handle libuv would not look
    uv_run(loop_, UV_RUN_NOWAIT);
  }
  /// For who runs the uv loop: its next wait ends at this moment, or before.
  void arm(std::uint64_t moment);
  /// Not before.
  void arm_exactly(std::uint64_t moment);

  /// The armed moment has come since the last arm() or wait().
  bool moment_came() const { return fired_; }

  /// Before wake() is called for the first time. A borrowed loop is from the begin on.
  void be_wakeable();
  /// Any thread. The wait at hand, or the next one, ends.
  void wake() { uv_async_send(wake_.get()); }

  bool has_events() const { return !ready_.empty(); }
  /// Tells each watcher that is ready. False when one of them said so, which ends it; the others stay ready.
  bool dispatch();

  /// While nothing is dispatched for long, a descriptor that stays ready must not keep a lent loop from sleeping: an event that is noted now
  /// stops its watcher until it has been dispatched.
  void hold(bool on) { holding_ = on; }

  uv_loop_t* uv() const { return loop_; }
  /// We are in a child of the process that this belongs to.
  bool is_foreign() const { return generation_ != fork_generation(); }
  /// Around a run: only the thread that was in it when the process was forked knows what state things were in.
  void begin_run() { runner_ = ::pthread_self(), runs_ = true; }
  void end_run() { runs_ = false; }
  /// In a forked child: makes it the child's own, with everything that is watched. False: another thread of the parent was in it, it was
  /// borrowed, or descriptors are used up.
  bool renew();

 private:
  friend class Watcher;
  Reactor();
  bool open_timer();
  void set_timer(std::uint64_t moment);
  void set_coarse_timer(std::uint64_t moment);
  void add_new(Watcher& watcher);
  void note(Watcher& watcher, int events);
  void prove_new();
  void forget(Watcher& watcher);
  void forget_noted(Watcher& watcher);
  uv::Handle<uv_poll_t> take_parked(int fd);
  void park(int fd, uv::Handle<uv_poll_t> poll);
  bool is_owned(int fd) const;
  /// Of ours. Somebody may have closed a descriptor that is watched: its number is free to the kernel and not to libuv. None: they are used up.
  UniqueFd under_free_number(UniqueFd fd) const;
  void set_owner(int fd, Watcher* watcher);

  std::unique_ptr<uv::Loop> own_;
  uv_loop_t* loop_ = nullptr;
  uv::Handle<uv_async_t> wake_;
  uv::Handle<uv_prepare_t> before_poll_;
  std::vector<Watcher*> new_;    ///< libuv has not shown them to the kernel yet; null: has gone since
  /// Of descriptors that are no longer watched, by their numbers, which the next ones will have: libuv asks the kernel four times about one that
  /// is new to it, and a handle that closes costs the next wait a look.
  std::vector<uv::Handle<uv_poll_t>> parked_;
  /// By descriptor, who has a handle for it. A second one for the same number, even one that is stopped, would take it out of the epoll set.
  std::vector<Watcher*> owners_;
  UniqueFd timer_fd_;
  uv::Handle<uv_poll_t> timer_;
  uv::Handle<uv_timer_t> coarse_timer_;  ///< in its place
  std::uint64_t armed_ = kNever;
  bool fired_ = false;
  std::vector<Watcher*> ready_;  ///< null: has gone since
  Watcher* watchers_ = nullptr;  ///< all there are, as a list: they are cut off when we end
  bool holding_ = false;
  pthread_t runner_{};
  bool runs_ = false;
  int generation_;
};

/// One descriptor that somebody wants to be told of. The descriptor stays its owner's, who ends the watcher before closing it. Of several watchers of one
/// descriptor (a terminal that is read and written) all but the first watch a duplicate, for libuv knows each number once. A watcher may outlive its
/// reactor; nothing comes of it then.
/// Threads: the reactor's.
class Watcher {
 public:
  static constexpr int kReadable = UV_READABLE;
  static constexpr int kWritable = UV_WRITABLE;
  /// The other side is gone: nobody reads what is written, or nobody writes any more.
  static constexpr int kHangUp = UV_DISCONNECT;

  /// Called by dispatch() with what is ready (an error or a hang-up counts as everything that was asked for). False: an exception is
  /// pending that is to end the dispatching. It may end the watcher.
  using Told = bool (*)(void* owner, int events);

  Watcher(Reactor& reactor, void* owner, Told told);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  /// Watches for these events and no others from now on; 0 for none. Err(os), with the errno of it in errno: no such descriptor, or one that
  /// is always ready, such as a regular file.
  Result<void> watch(int fd, int events);
  /// The descriptor is a socket, non-blocking, and nobody but the owner can close it: nothing about it need be asked.
  void trust(bool on) { trusted_ = on; }
  /// Lets go of the descriptor.
  void close();

  int events() const { return events_; }

 private:
  friend class Reactor;
  void resume();

  Reactor* reactor_;  ///< null: it has ended
  Watcher* before_ = nullptr;
  Watcher* after_ = nullptr;
  void* owner_;
  Told told_;
  uv::Handle<uv_poll_t> poll_;
  int events_ = 0;   ///< asked for
  int ready_ = 0;    ///< noted and not yet told
  int fd_ = -1;  ///< of poll_
  UniqueFd duplicate_;
  bool held_ = false;
  bool is_new_ = false;
  bool trusted_ = false;
};

}  // namespace pyw::aio
