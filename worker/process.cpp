#include "process.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/signals.hpp"

namespace pyw {
namespace {

Error os_error(const std::string& what) { return {Errc::os, what + ": " + std::strerror(errno)}; }

/// malloc would give every frame of a megabyte back to the system and fault all its pages in again for the next, which costs more than
/// carrying the frame. The main loop gives memory back when large frames have stopped coming.
void keep_large_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 128 << 20);
}

/// At the soft limit the kernel refuses, or, for CPU time, sends a signal; `slack` lies between it and the hard one, which Python cannot raise.
Result<void> limit(const char* name, int resource, const std::optional<std::uint64_t>& value, std::uint64_t slack = 0) {
  if (!value) return {};
  const auto which = static_cast<__rlimit_resource>(resource);
  rlimit both{*value, *value};
  // Only root may raise a hard limit that is there.
  if (rlimit now; ::getrlimit(which, &now) == 0 && both.rlim_max < now.rlim_max) both.rlim_max += std::min(slack, now.rlim_max - both.rlim_max);
  if (::setrlimit(which, &both) == 0) return {};
  return os_error(std::string("limits.") + name + " = " + std::to_string(*value));
}

}  // namespace

Result<void> become_worker() {
  for (const int fd : std::array{Descriptors::kFramesIn, Descriptors::kFramesOut, Descriptors::kCrash, Descriptors::kStdout, Descriptors::kStderr})
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return os_error("descriptor " + std::to_string(fd) + " (a worker is started by py_launcher)");
  for (const int fd : std::array{Descriptors::kFramesIn, Descriptors::kFramesOut}) {
    if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) return os_error("O_NONBLOCK");
    ::fcntl(fd, F_SETPIPE_SZ, 1 << 20);  // where the system does not allow it, the pipe is merely slower
  }
  reset_every_signal();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);
  keep_large_memory();
  ::unsetenv("LD_LIBRARY_PATH");  // it chose our libpython; the programs that Python starts are none of its business
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return {};
}

Result<void> apply_surroundings(const WorkerConfig& config) {
  for (const auto& [name, value] : config.env)
    if (name.empty() || name.find('=') != std::string::npos || ::setenv(name.c_str(), value.c_str(), 1) != 0)
      return Error{Errc::bad_config, "env." + name + ": not the name of a variable"};
  if (config.cwd && ::chdir(config.cwd->c_str()) != 0) return os_error("cwd " + *config.cwd);
  const auto& limits = config.limits;
  if (auto done = limit("memory", RLIMIT_DATA, limits.memory); !done) return done;
  // At the soft one SIGXCPU says what it was; the hard one's SIGKILL does not.
  if (auto done = limit("cpu_seconds", RLIMIT_CPU, limits.cpu_seconds, 1); !done) return done;
  if (auto done = limit("files", RLIMIT_NOFILE, limits.files); !done) return done;
  return limit("processes", RLIMIT_NPROC, limits.processes);
}

std::string limits_text(const WorkerConfig& config) {
  const auto& [memory, cpu_seconds, files, processes] = config.limits;
  std::string text;
  const auto add = [&text](const char* name, const std::optional<std::uint64_t>& value) {
    if (value) text += std::string(text.empty() ? " (limits: " : ", ") + name + " " + std::to_string(*value);
  };
  add("memory", memory);
  add("cpu_seconds", cpu_seconds);
  add("files", files);
  add("processes", processes);
  return text.empty() ? text : text + ")";
}

Result<std::string> find_executable(const WorkerConfig& config) {
  if (config.executable) {
    if (::access(config.executable->c_str(), X_OK) == 0) return *config.executable;
    return os_error(*config.executable);
  }
  if (::access(PYW_PYTHON_EXECUTABLE, X_OK) == 0) return std::string(PYW_PYTHON_EXECUTABLE);
  const char* path = std::getenv("PATH");
  const std::string folders = path ? path : "/usr/local/bin:/usr/bin";
  for (std::size_t from = 0; from <= folders.size();) {
    const std::size_t colon = std::min(folders.find(':', from), folders.size());
    const std::string candidate = folders.substr(from, colon - from) + "/python" PYW_PYTHON_VERSION;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    from = colon + 1;
  }
  return Error{Errc::os, "python" PYW_PYTHON_VERSION " is neither at " PYW_PYTHON_EXECUTABLE " nor on PATH"};
}

}  // namespace pyw
