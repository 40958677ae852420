// py_launcher --kill: from outside, and never the wrong process.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <doctest/doctest.h>

#include "launcher/launched.hpp"

using namespace pyw::test;

namespace {

int kill_it(const Launched& launched, long long start_offset = 0, std::string* errors = nullptr) {
  const Hello& hello = launched.hello();
  return run_launcher({"--kill", std::to_string(hello.launcher), std::to_string(static_cast<long long>(hello.start_time) + start_offset)},
                      errors);
}

}  // namespace

TEST_CASE("kill: another start time means another process, which is left alone") {
  Launched launched(shell("head -c 5 <&3 >&4"));
  CHECK(kill_it(launched, +1) == 0);
  CHECK(kill_it(launched, -1) == 0);
  launched.send("alive");
  CHECK(launched.receive(5) == "alive");
  CHECK(launched.report().keys["status"] == "exited 0");
}

TEST_CASE("kill: the launcher, its worker and their descendants are gone when it returns, and the report is written") {
  Launched launched(shell("setsid sleep 1000 & echo $! >&4; cat <&3 >&4"));
  const pid_t sleeper = std::stoi(launched.receive(6));
  CHECK(kill_it(launched) == 0);
  CHECK_FALSE(exists(sleeper));
  CHECK_FALSE(exists(static_cast<pid_t>(launched.hello().worker)));
  Report report = launched.report();
  CHECK(report.keys["status"] == "signaled 9");
  CHECK(report.keys["killed"] == "1");
}

TEST_CASE("kill: a stopped launcher with a stopped worker is ended, too") {
  Launched launched(shell("cat <&3 >&4"));
  for (const auto pid : {launched.hello().launcher, launched.hello().worker}) REQUIRE(::kill(static_cast<pid_t>(pid), SIGSTOP) == 0);
  CHECK(kill_it(launched) == 0);
  CHECK(launched.report().keys["killed"] == "1");
}

TEST_CASE("kill: when there is nothing to end, that is success") {
  Launched launched(shell("exit 0"));
  launched.answer_hello();
  REQUIRE(launched.ended_within(3000));
  CHECK(kill_it(launched) == 0);  // a zombie, or still closing
  launched.exit_status();
  CHECK(kill_it(launched) == 0);  // no such process
}

TEST_CASE("kill: a launcher that cannot answer is ended by force, and its tree with it (slow: 2 s)") {
  Launched launched(shell("setsid sleep 1000 & echo $! >&4; cat <&3 >&4"));
  const pid_t sleeper = std::stoi(launched.receive(6));
  const pid_t launcher = static_cast<pid_t>(launched.hello().launcher);
  // Held by a debugger: neither SIGTERM nor SIGCONT gets through.
  REQUIRE(::ptrace(PTRACE_SEIZE, launcher, nullptr, nullptr) == 0);
  REQUIRE(::ptrace(PTRACE_INTERRUPT, launcher, nullptr, nullptr) == 0);
  int status = 0;
  REQUIRE(::waitpid(launcher, &status, __WALL) == launcher);
  CHECK(kill_it(launched) == 0);
  CHECK(WTERMSIG(launched.exit_status()) == SIGKILL);
  for (const pid_t pid : {sleeper, static_cast<pid_t>(launched.hello().worker)}) {
    // Ours since the launcher is gone, unless a dying parent has reaped it in its last wait.
    CAPTURE(pid == sleeper);
    if (::waitpid(pid, &status, 0) == pid) CHECK(WTERMSIG(status) == SIGKILL);
    CHECK_FALSE(exists(pid));
  }
}
