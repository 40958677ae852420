#include "python/mailbox.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace pyw {

Result<std::unique_ptr<Mailbox>> Mailbox::make(Where where) {
  UniqueFd wake;
  if (where == Where::other_loop) {
    wake = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake) return Error{Errc::os, std::string("eventfd: ") + std::strerror(errno)};
  }
  return std::unique_ptr<Mailbox>(new Mailbox(where, std::move(wake)));
}

void Mailbox::put(Mail&& mail) {
  const std::lock_guard lock(mutex_);
  mail_.push_back(std::move(mail));
  if (has_mail_.exchange(true, std::memory_order_acq_rel) || !wake_) return;
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);  // EAGAIN: it is readable already
}

bool Mailbox::drop(std::uint64_t request) {
  const std::lock_guard lock(mutex_);
  return std::erase_if(mail_, [request](const Mail& mail) { return mail.what == Mail::What::nested && mail.id == request; }) != 0;
}

std::deque<Mailbox::Mail> Mailbox::take() {
  const std::lock_guard lock(mutex_);
  if (wake_ && has_mail()) {
    std::uint64_t count = 0;
    (void)!::read(wake_.get(), &count, sizeof count);  // resets the counter
  }
  has_mail_.store(false, std::memory_order_release);
  return std::exchange(mail_, {});
}

std::uint64_t Mailbox::expected_by(const Gil&, PyObject* done) const {
  const auto found = std::find_if(expected_.begin(), expected_.end(), [done](const auto& one) { return one.second.get() == done; });
  return found == expected_.end() ? 0 : found->first;
}

int Mailbox::traverse(visitproc visit, void* arg) const {
  for (const auto& [id, done] : expected_) Py_VISIT(done.get());
  return 0;
}

Ref Mailbox::forget(const Gil&, std::uint64_t id) {
  const auto found = expected_.find(id);
  if (found == expected_.end()) return {};
  Ref done = std::move(found->second);
  expected_.erase(found);
  return done;
}

}  // namespace pyw
