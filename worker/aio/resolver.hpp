#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>

#include "aio/lookup_threads.hpp"
#include "aio/state.hpp"
#include "base/fork_generation.hpp"

namespace pyw::aio {

class Loop;

/// The look-ups of one loop that wait for an answer, each with the future that will have it.
///
/// A look-up that is under way when the process forks is asked again in the child, if the loop goes on there.
/// Owns: the futures. Threads: the loop's. GIL: held.
class Resolver {
 public:
  explicit Resolver(Loop& loop);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// A future of the answer. Empty: an exception is pending.
  Ref ask(const Gil& gil, std::unique_ptr<LookUp> look_up);
  /// Nobody waits for it any more.
  void forget(const Gil& gil, PyObject* future);

  /// A chore of the loop: gives the answers that there are to their futures.
  static bool deliver(const Gil& gil, PyObject* loop);

  /// Answers have come since the last call.
  bool has_answers() { return answered_.exchange(false); }

  /// In a child of the process that made it, or renewed it last.
  bool is_foreign() const { return generation_ != fork_generation(); }
  void renew();

  int traverse(visitproc visit, void* arg) const;

 private:
  struct Waiting {
    Ref future;
    std::optional<LookUp::Names> names;  ///< what was asked, for renew()
    std::optional<LookUp::Address> address;
  };
  static void told(void* self);
  void settle(const Gil& gil, PyObject* future, const LookUp& look_up);

  Loop& loop_;
  std::unique_ptr<LookUpThreads> threads_;
  std::unordered_map<std::uint64_t, Waiting> waiting_;
  std::uint64_t last_id_ = 0;
  std::atomic<bool> answered_{false};
  int generation_;
};

/// Methods of the loop, for its table.
///
/// (host, port, family, type, proto, flags): what socket.getaddrinfo() says, if that needs no look-up; else a future of it. NotImplemented:
/// arguments that asyncio has to make sense of.
PyObject* look_up_names(PyObject* loop, PyObject* const* args, Py_ssize_t nargs);
/// (address, flags): the same for socket.getnameinfo().
PyObject* look_up_address(PyObject* loop, PyObject* const* args, Py_ssize_t nargs);
/// (future): whoever waited for it was cancelled.
PyObject* forget_look_up(PyObject* loop, PyObject* future);

}  // namespace pyw::aio
