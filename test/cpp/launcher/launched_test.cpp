// The fixture of the launcher's tests. It is named like a test because the build takes only files named *_test.cpp.
#include "launcher/launched.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/clock.hpp"

namespace pyw::test {
namespace {

struct Pipe {
  UniqueFd read_end, write_end;
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
};

[[noreturn]] void exec_launcher(const std::vector<std::string>& arguments) {
  const std::string program = std::string(PYW_PRIV) + "/py_launcher";
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  ::_exit(99);
}

[[noreturn]] void become_launcher(const std::vector<std::string>& worker, int in, int out, const Options& options) {
  const int high_in = ::fcntl(in, F_DUPFD_CLOEXEC, 100), high_out = ::fcntl(out, F_DUPFD_CLOEXEC, 100);
  ::dup2(high_in, 3);
  ::dup2(high_out, 4);
  if (options.before_exec) options.before_exec();
  exec_launcher(worker);
}

std::uint64_t take(const std::string& bytes, std::size_t& at, int size) {
  std::uint64_t value = 0;
  while (size-- > 0) value = value << 8 | static_cast<unsigned char>(bytes.at(at++));
  return value;
}

Hello parse_hello(const std::string& bytes) {
  REQUIRE(bytes.size() == 36);
  Hello hello;
  std::size_t at = 0;
  hello.length = static_cast<std::uint32_t>(take(bytes, at, 4));
  hello.head = take(bytes, at, 4);
  hello.version = take(bytes, at, 8);
  hello.worker = static_cast<std::uint32_t>(take(bytes, at, 4));
  hello.launcher = static_cast<std::uint32_t>(take(bytes, at, 4));
  hello.start_time = take(bytes, at, 8);
  hello.report_fd = static_cast<std::uint32_t>(take(bytes, at, 4));
  return hello;
}

Report parse_report(const std::string& text) {
  const std::vector<std::string> order{"py_launcher", "status", "core", "killed", "user_us", "system_us", "max_rss_kb", "descendants",
                                       "message", "stack", "stdout", "stderr"};
  Report report;
  std::size_t at = 0;
  for (std::size_t line = 0; line < order.size(); ++line) {
    const std::size_t end = text.find('\n', at);
    REQUIRE(end != std::string::npos);
    const std::size_t blank = text.find(' ', at);
    REQUIRE(text.substr(at, blank - at) == order[line]);
    const std::string value = text.substr(blank + 1, end - blank - 1);
    at = end + 1;
    report.keys[order[line]] = value;
    if (line < 8) continue;
    const std::size_t size = std::stoul(value);
    report.sections[order[line]] = text.substr(at, size);
    REQUIRE(report.sections[order[line]].size() == size);
    at += size;
    REQUIRE(text.at(at++) == '\n');
  }
  CHECK(at == text.size());
  return report;
}

int wait_for(pid_t pid) {
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return status;
}

}  // namespace

Launched::Launched(std::vector<std::string> worker, Options options) {
  REQUIRE(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  ::signal(SIGPIPE, SIG_IGN);  // a worker that ended too early is a failed check, not our end
  Pipe in, out, gate;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (options.through_a_parent) {
      gate.write_end.reset();
      const pid_t launcher = ::fork();
      if (launcher != 0) {
        in.read_end.reset();
        out.write_end.reset();
        char byte;
        (void)!::read(gate.read_end.get(), &byte, 1);
        ::_exit(0);
      }
    }
    become_launcher(worker, in.read_end.get(), out.write_end.get(), options);
  }
  (options.through_a_parent ? parent_ : launcher_) = child;
  parent_gate_ = std::move(gate.write_end);
  to_worker_ = std::move(in.write_end);
  from_worker_ = std::move(out.read_end);
  in.read_end.reset();
  out.write_end.reset();
  hello_ = parse_hello(receive(36));
  if (options.through_a_parent) launcher_ = static_cast<pid_t>(hello_.launcher);
  if (options.open_report) REQUIRE(open_report());
}

Launched::~Launched() {
  to_worker_.reset();
  from_worker_.reset();
  end_parent();
  if (!reaped_) {
    ::kill(launcher_, SIGCONT);
    // One that does not end by itself now is what a failed check has left: it must not hold up the other tests.
    if (!eventually([&] { return reaped_ = ::waitpid(launcher_, &status_, WNOHANG) == launcher_; })) ::kill(launcher_, SIGKILL);
    exit_status();
  }
  // Whatever got away is our child by now.
  int strays = 0;
  for (pid_t stray; (stray = ::waitpid(-1, nullptr, WNOHANG)) >= 0;) {
    if (stray > 0) continue;
    ++strays;
    std::ifstream children("/proc/self/task/" + std::to_string(::getpid()) + "/children");
    for (pid_t pid; children >> pid;) ::kill(pid, SIGKILL);
    ::waitpid(-1, nullptr, 0);
  }
  CHECK_MESSAGE(strays == 0, "processes outlived their launcher");
}

std::string Launched::report_path() const {
  return "/proc/" + std::to_string(hello_.launcher) + "/fd/" + std::to_string(hello_.report_fd);
}

bool Launched::open_report() {
  report_ = UniqueFd(::open(report_path().c_str(), O_RDONLY | O_CLOEXEC));
  return static_cast<bool>(report_);
}

void Launched::send(const std::string& bytes) {
  REQUIRE(::write(to_worker_.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

void Launched::answer_hello() { REQUIRE((::write(to_worker_.get(), "x", 1) == 1 || errno == EPIPE)); }

std::string Launched::receive(std::size_t size) {
  std::string got(size, '\0');
  std::size_t have = 0;
  pollfd readable{from_worker_.get(), POLLIN, 0};
  while (have < size && ::poll(&readable, 1, 10'000) == 1) {
    const ssize_t more = ::read(from_worker_.get(), got.data() + have, size - have);
    if (more <= 0) break;
    have += static_cast<std::size_t>(more);
  }
  got.resize(have);
  return got;
}

void Launched::end_parent() {
  parent_gate_.reset();
  if (parent_ > 0) wait_for(std::exchange(parent_, 0));
}

bool Launched::ended_within(int ms) {
  const long long deadline = now_ms() + ms;
  char ignored[4096];
  for (;;) {
    pollfd readable{from_worker_.get(), POLLIN, 0};
    const long long left = deadline - now_ms();
    if (left < 0 || ::poll(&readable, 1, static_cast<int>(left)) != 1) return false;
    if (::read(from_worker_.get(), ignored, sizeof ignored) <= 0) return true;
  }
}

int Launched::exit_status() {
  if (!reaped_) status_ = wait_for(launcher_);
  reaped_ = true;
  return status_;
}

std::string Launched::report_text() {
  exit_status();
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::pread(report_.get(), buffer, sizeof buffer, static_cast<off_t>(text.size()))) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  return text;
}

Report Launched::report() {
  const std::string text = report_text();
  CAPTURE(text);
  return parse_report(text);
}

std::vector<std::string> python(const std::string& program) {
  return {"/usr/bin/python3", "-I", "-S", "-c", "import os, signal, sys, fcntl, time\n" + program};
}

std::vector<std::string> shell(const std::string& program) { return {"/bin/sh", "-c", program}; }

int run_launcher(const std::vector<std::string>& arguments, std::string* errors) {
  Pipe out;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const int high = ::fcntl(out.write_end.get(), F_DUPFD_CLOEXEC, 100);
    ::close(3);
    ::close(4);
    ::dup2(high, 2);
    exec_launcher(arguments);
  }
  out.write_end.reset();
  char buffer[4096];
  for (ssize_t got; (got = ::read(out.read_end.get(), buffer, sizeof buffer)) > 0;)
    if (errors) errors->append(buffer, static_cast<std::size_t>(got));
  const int status = wait_for(child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

long long status_field(pid_t pid, const std::string& name) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(name + ":", 0) == 0) return std::stoll(line.substr(name.size() + 1));
  return -1;
}

bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }
long long now_ms() { return static_cast<long long>(monotonic_ns() / 1'000'000); }

bool eventually(const std::function<bool()>& holds) {
  for (const long long deadline = now_ms() + 5000; now_ms() < deadline; ::poll(nullptr, 0, 2))
    if (holds()) return true;
  return false;
}

}  // namespace pyw::test
