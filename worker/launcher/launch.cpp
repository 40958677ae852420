#include "launcher/launch.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/clock.hpp"
#include "launcher/child.hpp"
#include "launcher/process.hpp"
#include "launcher/reaper.hpp"
#include "launcher/report.hpp"

namespace pyw::launcher {
namespace {

constexpr int kFromBeam = 3;
constexpr int kToBeam = 4;
constexpr int kExitUsage = 2;
constexpr int kExitNotRun = 127;
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kSweepLimit = 5 * kSecond;
constexpr int kOwnerLimitMs = 1000;

int fail(const char* what) {
  std::fprintf(stderr, "py_launcher: %s: %s\n", what, std::strerror(errno));
  return kExitNotRun;
}

/// Blocks all that could end us in the middle of the clean-up, and takes the requests to end and SIGCHLD through a descriptor.
UniqueFd take_signals() {
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);  // an ignored SIGCHLD would reap for us
  struct sigaction child {};
  child.sa_handler = SIG_DFL;
  child.sa_flags = SA_NOCLDSTOP;
  ::sigaction(SIGCHLD, &child, nullptr);
  sigset_t blocked;
  ::sigfillset(&blocked);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) ::sigdelset(&blocked, fault);
  ::sigprocmask(SIG_SETMASK, &blocked, nullptr);  // SIGPIPE among them: a write to a closed 4 is an error, not the end
  sigset_t wanted;
  ::sigemptyset(&wanted);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP}) ::sigaddset(&wanted, signal);
  return move_up(UniqueFd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK)));
}

/// SIGTERM, not SIGKILL, when the parent (the BEAM's erl_child_setup) ends: we have to clean up. It is a second way to notice, for
/// the case that somebody else holds the writing end of 3. False when the parent has ended just now.
bool tie_to_parent() {
  const pid_t parent = ::getppid();
  return ::prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && ::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && ::getppid() == parent;
}

/// A frame of 1 MB then needs one wake-up, not sixteen. The system may limit it, so it is a wish.
void widen_pipes() {
  for (const int fd : {kFromBeam, kToBeam}) ::fcntl(fd, F_SETPIPE_SZ, 1024 * 1024);
}

/// An integer of `size` bytes, big-endian; returns the place behind it.
unsigned char* put(unsigned char* at, std::uint64_t value, int size) {
  for (int byte = size - 1; byte >= 0; --byte) *at++ = static_cast<unsigned char>(value >> (8 * byte));
  return at;
}

/// docs/protocol.md sections 2 and 3. Written whole or not at all: it is far shorter than what a pipe takes in one piece.
bool write_hello(pid_t worker, std::uint64_t start_time, int report) {
  constexpr int kPayload = 4 + 4 + 8 + 4, kHeader = 12, kProtocol = 1;
  constexpr unsigned char kHelloKind = 0x40;
  unsigned char frame[4 + kHeader + kPayload];
  unsigned char* at = put(frame, kHeader + kPayload, 4);
  at = put(at, kHelloKind, 1);
  at = put(at, 0, 3);  // flags, namespace
  at = put(at, kProtocol, 8);
  at = put(at, static_cast<std::uint64_t>(worker), 4);
  at = put(at, static_cast<std::uint64_t>(::getpid()), 4);
  at = put(at, start_time, 8);
  put(at, static_cast<std::uint64_t>(report), 4);
  return ::write(kToBeam, frame, sizeof frame) == static_cast<ssize_t>(sizeof frame);
}

struct Noticed {
  bool child = false;
  bool asked_to_end = false;
};

Noticed read_signals(int signals) {
  Noticed noticed;
  signalfd_siginfo info;
  while (::read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info))
    (info.ssi_signo == static_cast<unsigned>(SIGCHLD) ? noticed.child : noticed.asked_to_end) = true;
  return noticed;
}

/// SIGKILL also ends the stopped and the spinning. The pid is the worker's own until it has been reaped.
void kill_worker(pid_t worker) {
  ::kill(worker, SIGKILL);
  ::kill(-worker, SIGKILL);
}

/// Sleeps until the worker is a zombie; kills it when the BEAM is gone or somebody asks. Says whether it has.
/// 3 is watched for POLLHUP alone (events = 0): the kernel does not wake us for frames, and we never take a byte of the worker's.
bool watch(pid_t worker, int signals, bool beam_gone) {
  bool killed = beam_gone;
  pollfd watched[2] = {{beam_gone ? -1 : kFromBeam, 0, 0}, {signals, POLLIN, 0}};
  if (beam_gone) kill_worker(worker);
  while (!reap_orphans_unless_ended(worker)) {
    if (::poll(watched, 2, -1) < 0) continue;
    const bool asked = watched[1].revents != 0 && read_signals(signals).asked_to_end;
    if (watched[0].revents == 0 && !asked) continue;
    killed = true;
    watched[0].fd = -1;  // its end stays reported and would keep us spinning
    kill_worker(worker);
  }
  return killed;
}

/// From "the worker is a zombie" to "nothing of it is left".
void collect(const Worker& worker, bool killed, Ending& ending) {
  ::kill(-worker.pid(), SIGKILL);  // at one blow, whatever they fork; the group is safe from recycling until the next line
  ::wait4(worker.pid(), &ending.status, 0, &ending.usage);
  ending.killed = killed && WIFSIGNALED(ending.status) && WTERMSIG(ending.status) == SIGKILL;
  const Swept swept = end_descendants(monotonic_ns() + kSweepLimit);
  ending.descendants = swept.killed;
  if (!swept.complete)
    std::fprintf(stderr, "py_launcher: some processes of worker %d could not be ended\n", worker.pid());
  ending.failure_length = worker.failure(ending.failure, sizeof ending.failure);
}

/// A worker can end before the owner has had the time to open the report. The owner opens it when it gets HELLO and only then sends
/// CONFIG (or closes), so the report is in its hands as soon as the file is held by somebody else, or anything has happened on 3
/// that we can still see. Only when neither is so do we wait for the latter. Where the kernel cannot tell who holds the file, a
/// worker that lived for a second is taken as proof, so that its end is not delayed.
void await_owner(int report, std::uint64_t started_ns) {
  const Held held = report_is_held(report);
  if (held == Held::yes || (held == Held::unknown && monotonic_ns() - started_ns > kSecond)) return;
  pollfd beam{kFromBeam, POLLIN, 0};
  ::poll(&beam, 1, kOwnerLimitMs);
}

int exit_status(const Ending& ending) {
  if (ending.failure_length > 0) return kExitNotRun;
  return WIFSIGNALED(ending.status) ? 128 + WTERMSIG(ending.status) : WEXITSTATUS(ending.status);
}

}  // namespace

int launch(char* const argv[]) {
  if (::fcntl(kFromBeam, F_GETFD) < 0 || ::fcntl(kToBeam, F_GETFD) < 0) {
    std::fputs("py_launcher: descriptors 3 and 4 are not open; an Erlang port starts this program, with nouse_stdio\n", stderr);
    return kExitUsage;
  }
  const UniqueFd signals = take_signals();
  if (!signals) return fail("cannot take signals");
  if (!tie_to_parent()) return fail("the parent has ended");
  widen_pipes();
  const std::optional<Process> self = look_up(::getpid());
  if (!self) return fail("cannot read /proc/self/stat");
  BlackBox box;
  if (const char* missing = box.open()) return fail(missing);

  Worker worker;
  Ending ending;
  const std::uint64_t started_ns = monotonic_ns();
  if (worker.start(argv, box)) {
    box.close_write_ends();
    const bool beam_there = write_hello(worker.pid(), self->start, box.report.get());
    if (beam_there) worker.let_run();
    const bool killed = watch(worker.pid(), signals.get(), !beam_there);
    collect(worker, killed, ending);
  } else {
    // Worker pid 0: there is none. The owner gets the reason the same way as for a program that cannot be run.
    ending.failure_length = static_cast<std::size_t>(std::snprintf(ending.failure, sizeof ending.failure,
        "cannot start a process for the worker: %s", std::strerror(errno)));
    if (!write_hello(0, self->start, box.report.get())) return fail("cannot start a process for the worker; the BEAM is gone");
  }
  if (!write_report(box, ending)) {
    fail("cannot write the report");
    // What is in it is half of ours, or somebody else's. How the worker ended our own status tells, too.
    if (::ftruncate(box.report.get(), 0) != 0) fail("cannot empty the report");
  }
  await_owner(box.report.get(), started_ns);
  ::close(kFromBeam);
  ::close(kToBeam);
  return exit_status(ending);
}

}  // namespace pyw::launcher
