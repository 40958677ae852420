#include "aio/lookup_threads.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

namespace pyw::aio {
namespace {

/// They wait for the network most of the time, so more than there are processors.
constexpr int kMostThreads = 16;
constexpr std::chrono::seconds kIdle{10};

}  // namespace

void LookUp::answer() {
  if (names) {
    const auto text = [](const std::optional<std::string>& of) { return of ? of->c_str() : nullptr; };
    error = ::getaddrinfo(text(names->host), text(names->service), &names->hints, &found);
  } else {
    error = ::getnameinfo(reinterpret_cast<const sockaddr*>(&address->address), address->size, host, sizeof host, service, sizeof service,
                          address->flags);
  }
  system_error = error == EAI_SYSTEM ? errno : 0;
}

struct LookUpThreads::Shared {
  std::mutex mutex;
  std::condition_variable asked;
  std::deque<std::unique_ptr<LookUp>> queue;
  std::vector<std::unique_ptr<LookUp>> answered;
  void* owner;  ///< null: gone
  Told told;
  int threads = 0;
  int idle = 0;
};

LookUpThreads::LookUpThreads(void* owner, Told told) : shared_(std::make_shared<Shared>()) {
  shared_->owner = owner;
  shared_->told = told;
}

LookUpThreads::~LookUpThreads() {
  const std::lock_guard lock(shared_->mutex);
  shared_->owner = nullptr;
  shared_->queue.clear();
  shared_->answered.clear();
  shared_->asked.notify_all();
}

bool LookUpThreads::ask(std::unique_ptr<LookUp> look_up) {
  bool wake;
  {
    const std::lock_guard lock(shared_->mutex);
    const bool starts = static_cast<int>(shared_->queue.size()) >= shared_->idle && shared_->threads < kMostThreads;
    if (starts && !start_thread(shared_) && shared_->threads == 0) return false;
    shared_->queue.push_back(std::move(look_up));
    wake = shared_->idle > 0;
  }
  if (wake) shared_->asked.notify_one();
  return true;
}

void LookUpThreads::drop(std::uint64_t id) {
  const std::lock_guard lock(shared_->mutex);
  std::erase_if(shared_->queue, [id](const auto& each) { return each->id == id; });
}

std::vector<std::unique_ptr<LookUp>> LookUpThreads::take_answered() {
  const std::lock_guard lock(shared_->mutex);
  return std::exchange(shared_->answered, {});
}

/// With the lock held.
bool LookUpThreads::start_thread(const std::shared_ptr<Shared>& shared) {
  auto own = std::make_unique<std::shared_ptr<Shared>>(shared);
  pthread_attr_t detached;
  ::pthread_attr_init(&detached);
  ::pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  // Signals are for threads that know what to do with them.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const auto run = [](void* given) -> void* {
    const std::unique_ptr<std::shared_ptr<Shared>> mine(static_cast<std::shared_ptr<Shared>*>(given));
    work(**mine);
    return nullptr;
  };
  const bool started = ::pthread_create(&thread, &detached, run, own.get()) == 0;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_attr_destroy(&detached);
  if (!started) return false;
  (void)own.release();
  ++shared->threads;
  return true;
}

void LookUpThreads::work(Shared& shared) {
  std::unique_lock lock(shared.mutex);
  while (shared.owner) {
    if (shared.queue.empty()) {
      ++shared.idle;
      const bool something = shared.asked.wait_for(lock, kIdle, [&] { return !shared.queue.empty() || !shared.owner; });
      --shared.idle;
      if (something) continue;
      break;
    }
    std::unique_ptr<LookUp> mine = std::move(shared.queue.front());
    shared.queue.pop_front();
    lock.unlock();
    mine->answer();
    lock.lock();
    if (!shared.owner) break;
    shared.answered.push_back(std::move(mine));
    shared.told(shared.owner);
  }
  --shared.threads;
}

}  // namespace pyw::aio
