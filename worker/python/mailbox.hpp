#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "base/unique_fd.hpp"
#include "python/ref.hpp"
#include "session/waiter.hpp"

namespace pyw {

/// Where the answers for the coroutines of one event loop arrive. Whoever reads the pipe puts them in, without the GIL; the loop's
/// thread takes them out. A loop of the user's own is woken through fd(); the context's loop needs no fd, for the worker's main loop looks
/// here itself.
/// Threads: put in by whoever reads the pipe, taken out by the loop's thread; expect() and forget() under the GIL.
class Mailbox final : public session::Waiter {
 public:
  struct Mail {
    enum class What : std::uint8_t { answer, nested, stop };
    What what;
    std::uint64_t id;
    port::Frame frame{};
  };

  /// Err(os): no descriptor was to be had.
  static Result<std::unique_ptr<Mailbox>> make(Where where);

  void answered(std::uint64_t id, port::Frame&& frame) override { put({Mail::What::answer, id, std::move(frame)}); }
  void nested(port::Frame&& frame) override {
    const std::uint64_t id = frame.header.id;
    put({Mail::What::nested, id, std::move(frame)});
  }
  void stop(std::uint64_t request) override { put({Mail::What::stop, request}); }
  bool drop(std::uint64_t request) override;

  /// -1 for the context's own.
  int fd() const { return wake_.get(); }
  /// Lock-free.
  bool has_mail() const { return has_mail_.load(std::memory_order_acquire); }
  std::deque<Mail> take();

  /// `done` is to be called with the answer of callback `id`.
  void expect(const Gil&, std::uint64_t id, Ref done) { expected_.emplace(id, std::move(done)); }
  /// Hands out what is to be called; empty: nobody waits for it.
  Ref forget(const Gil&, std::uint64_t id);
  int traverse(visitproc visit, void* arg) const;
  /// The callback whose answer `done` is to be called with; 0: none.
  std::uint64_t expected_by(const Gil&, PyObject* done) const;

 private:
  Mailbox(Where where, UniqueFd wake) : Waiter(where), wake_(std::move(wake)) {}
  void put(Mail&& mail);

  UniqueFd wake_;
  std::mutex mutex_;
  std::deque<Mail> mail_;
  std::atomic<bool> has_mail_{false};
  std::unordered_map<std::uint64_t, Ref> expected_;
};

}  // namespace pyw
