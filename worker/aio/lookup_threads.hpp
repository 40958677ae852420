#pragma once

#include <netdb.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pyw::aio {

/// A question to the C library's resolver, and its answer. Threads: one at a time; who has it asked gives it away until it comes back.
struct LookUp {
  /// The addresses of a host and a service, or the names of an address.
  struct Names {
    std::optional<std::string> host, service;
    addrinfo hints{};
  };
  struct Address {
    sockaddr_storage address{};
    socklen_t size = 0;
    int flags = 0;
  };

  explicit LookUp(Names asked) : names(std::move(asked)) {}
  explicit LookUp(Address asked) : address(std::move(asked)) {}
  ~LookUp() {
    if (found) ::freeaddrinfo(found);
  }
  LookUp(const LookUp&) = delete;
  LookUp& operator=(const LookUp&) = delete;

  /// Asks; may take as long as the network does.
  void answer();

  std::uint64_t id = 0;
  const std::optional<Names> names;
  const std::optional<Address> address;

  int error = 0;         ///< an EAI code; 0: answered
  int system_error = 0;  ///< for EAI_SYSTEM
  addrinfo* found = nullptr;
  char host[NI_MAXHOST] = "";
  char service[NI_MAXSERV] = "";
};

/// The threads in which one loop's look-ups wait for the network. They start when they are needed, and end when there was nothing to do for a while.
///
/// Not libuv's: there are four of those for everything, of which look-ups may have two; a process does not end before they do; and what they have
/// of a loop that goes on in a forked child never comes back. A look-up cannot be interrupted. So who ends this does not wait: a thread that
/// is in one belongs to itself from then on, and what it finds is dropped.
/// Threads: the loop's. In a forked child nothing of this may be touched: a lock may be held by a thread that is not there.
class LookUpThreads {
 public:
  /// Told in one of the threads, under a lock: something was answered.
  using Told = void (*)(void* owner);
  LookUpThreads(void* owner, Told told);
  ~LookUpThreads();
  LookUpThreads(const LookUpThreads&) = delete;
  LookUpThreads& operator=(const LookUpThreads&) = delete;

  /// False: there is no thread, and none can be started.
  bool ask(std::unique_ptr<LookUp> look_up);
  /// Nobody wants that answer any more. It is not asked for if no thread has begun with it.
  void drop(std::uint64_t id);
  /// What was answered since the last call.
  std::vector<std::unique_ptr<LookUp>> take_answered();

 private:
  struct Shared;
  static bool start_thread(const std::shared_ptr<Shared>& shared);
  static void work(Shared& shared);

  const std::shared_ptr<Shared> shared_;
};

}  // namespace pyw::aio
