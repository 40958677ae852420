#include "launcher/black_box.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

namespace pyw::launcher {
namespace {

constexpr unsigned kNoExecSeal = 0x0008;  // MFD_NOEXEC_SEAL, not yet in our headers

UniqueFd make_memfd(const char* name) {
  // Linux 6.3 and later may be told to refuse a memfd that does not say it will never be run; older ones do not know the flag.
  int fd = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoExecSeal);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return move_up(UniqueFd(fd));
}

/// Opened a second time through /proc: only such a descriptor is counted by the kernel as "has the file open", which is what
/// report_is_held() asks for.
UniqueFd make_report() {
  const UniqueFd first = make_memfd("py_launcher report");
  // A worker of the same user can open it through /proc as well: what it seals with a lie in it, we could not correct.
  if (!first || ::fcntl(first.get(), F_ADD_SEALS, F_SEAL_SEAL) != 0) return {};
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", first.get());
  return move_up(UniqueFd(::open(path, O_RDWR | O_CLOEXEC)));
}

UniqueFd make_crash_file() {
  UniqueFd fd = make_memfd("py_launcher crash");
  if (fd && (::ftruncate(fd.get(), CrashFile::kSize) != 0 ||
             ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0))
    return {};
  return fd;
}

/// Ours and the worker's read end are one open file: that one reads never blocks the other.
bool open_output_pipe(UniqueFd& read_end, UniqueFd& write_end) {
  return open_pipe(read_end, write_end) && ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK) == 0;
}

}  // namespace

UniqueFd move_up(UniqueFd low) {
  if (!low) return {};
  return UniqueFd(::fcntl(low.get(), F_DUPFD_CLOEXEC, kFirstOwnFd));
}

bool open_pipe(UniqueFd& read_end, UniqueFd& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  UniqueFd low_read(ends[0]), low_write(ends[1]);
  read_end = move_up(std::move(low_read));
  write_end = move_up(std::move(low_write));
  return read_end && write_end;
}

const char* BlackBox::open() {
  if (!(report = make_report())) return "the report";
  if (!(crash = make_crash_file())) return "the crash file";
  if (!open_output_pipe(stdout_read, stdout_write) || !open_output_pipe(stderr_read, stderr_write)) return "the output pipes";
  if (!(null = move_up(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC))))) return "/dev/null";
  return nullptr;
}

void BlackBox::close_write_ends() {
  stdout_write.reset();
  stderr_write.reset();
}

std::span<const char> read_crash(int crash) {
  static char buffer[CrashFile::kStack];
  const ssize_t length = ::pread(crash, buffer, sizeof buffer, 0);
  std::size_t used = length > 0 ? static_cast<std::size_t>(length) : 0;
  while (used > 0 && buffer[used - 1] == '\0') --used;
  return {buffer, used};
}

std::span<const char> read_in_hand(int crash, int stream) {
  static char buffer[CrashFile::kRecord];
  const off_t at = static_cast<off_t>(CrashFile::kStack + static_cast<std::size_t>(stream) * CrashFile::kRecord);
  if (::pread(crash, buffer, sizeof buffer, at) != static_cast<ssize_t>(sizeof buffer)) return {};
  std::uint32_t length = 0;
  std::memcpy(&length, buffer, sizeof length);
  if (length > sizeof buffer - sizeof length) return {};  // no length of ours: the stacks have run over into the record
  std::size_t used = length;
  while (used > 0 && buffer[sizeof length + used - 1] == '\0') --used;
  return {buffer + sizeof length, used};
}

std::span<const char> drain_pipe(int read_end) {
  static char buffer[2 * kOutputTail];
  // Set again: the worker shares this open file and may have changed its mode.
  ::fcntl(read_end, F_SETFL, O_NONBLOCK);
  const int pipe_size = ::fcntl(read_end, F_GETPIPE_SZ);
  std::size_t left = pipe_size > 0 ? static_cast<std::size_t>(pipe_size) : kOutputTail;
  std::size_t held = 0;
  while (left > 0) {
    if (held == sizeof buffer) {
      std::memcpy(buffer, buffer + kOutputTail, kOutputTail);
      held = kOutputTail;
    }
    const ssize_t got = ::read(read_end, buffer + held, std::min(left, sizeof buffer - held));
    if (got <= 0) break;  // empty, or all writers are gone
    held += static_cast<std::size_t>(got);
    left -= static_cast<std::size_t>(got);
  }
  const std::size_t tail = std::min(held, kOutputTail);
  return {buffer + held - tail, tail};
}

}  // namespace pyw::launcher
