#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "aio/loop.hpp"
#include "base/fork_generation.hpp"
#include "base/unique_fd.hpp"

namespace pyw::aio {

struct SockCallObject;

/// Calls of sock_recv and its like that wait for their sockets.
///
/// A socket stays registered between two waits, which saves both system calls of each wait. So that this is safe, the registrations are in
/// an epoll set of their own, which the reactor watches as one descriptor, and they are edge-triggered: a registration that nobody waits for costs
/// one event at most, and who waits has been told EAGAIN before, so an edge is still to come. The kernel forgets a socket that is closed. Its
/// number may be another socket's then: a registration is good for the very socket object only (a weak reference tells), and each has an id
/// of its own, so that an event of a closed socket that another process still has open finds nobody.
///
/// Owns: the calls that wait. Threads: the loop's. GIL: held.
class SockWaits {
 public:
  /// Null: OSError is pending.
  static std::unique_ptr<SockWaits> make(const Gil& gil, Loop& loop);
  ~SockWaits();
  SockWaits(const SockWaits&) = delete;
  SockWaits& operator=(const SockWaits&) = delete;

  /// wake(call) is called at the next edge of `event` (Watcher::kReadable or kWritable), or earlier. Shares the call. False: an exception is pending.
  bool wait(const Gil& gil, PyObject* sock, int fd, int event, SockCallObject* call);
  /// We are in a child of the process that made it, or that renewed it last: its epoll set is the parent's.
  bool is_foreign() const { return generation_ != fork_generation(); }
  /// An epoll set of our own; who waits does so there. False: an exception is pending.
  bool renew(const Gil& gil);
  /// Wakes calls whose socket has been closed, of which no event comes: they raise what the system says. Looks at a few of those that wait, others each
  /// time. False: an exception is pending that ends the run.
  bool wake_closed(const Gil& gil);
  /// It no longer waits.
  void leave(int fd, SockCallObject* call);
  int traverse(visitproc visit, void* arg) const;

 private:
  struct Slot {
    std::uint32_t id = 0;  ///< 0: not registered
    std::uint32_t mask = 0;
    Ref sock;  ///< a weak reference
    std::vector<SockCallObject*> waiting;
  };
  SockWaits(Loop& loop, UniqueFd set)
      : loop_(loop), set_(std::move(set)), watcher_(loop.reactor(), this, told), generation_(fork_generation()) {}
  bool ask(int fd, Slot& slot, std::uint32_t mask);
  static bool told(void* owner, int events);
  void link(SockCallObject* call);
  void unlink(SockCallObject* call);
  bool wake_all(const Gil& gil, const std::vector<SockCallObject*>& calls);
  void take(int fd, std::uint32_t id, std::uint32_t events, std::vector<SockCallObject*>& woken);

  Loop& loop_;
  UniqueFd set_;
  Watcher watcher_;  ///< ends before set_
  std::unordered_map<int, Slot> slots_;
  std::vector<SockCallObject*> woken_;
  SockCallObject* first_ = nullptr;  ///< those that wait, as a list
  SockCallObject* last_ = nullptr;
  std::uint32_t last_id_ = 0;
  int generation_;
};

}  // namespace pyw::aio
