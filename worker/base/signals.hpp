#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>

namespace pyw {

/// Every signal does what it does at the start of a program, and none is blocked. Also the two that the C library keeps for itself and will
/// not touch through signal(): a parent that left them ignored (some versions of make do) would take pthread_cancel and setuid away from
/// our threads. Async-signal-safe. Threads: before there is a second one.
inline void reset_every_signal() {
  for (int signal = 1; signal < NSIG; ++signal) {
    if (::signal(signal, SIG_DFL) != SIG_ERR || signal == SIGKILL || signal == SIGSTOP) continue;
    const std::array<unsigned long, 8> as_at_the_start{};  // at least as large as the kernel's struct sigaction
    constexpr std::size_t kMaskSize = 8;
    ::syscall(SYS_rt_sigaction, signal, as_at_the_start.data(), nullptr, kMaskSize);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace pyw
