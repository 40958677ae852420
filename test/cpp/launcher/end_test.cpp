// Whatever the worker does and whatever it has started, it ends when it has to and takes all of it along.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <doctest/doctest.h>

#include "launcher/launched.hpp"

using namespace pyw::test;

namespace {

/// Python: ready() tells the test that all is set up; daemon(f) runs f in a double-forked process with its own session.
const char* const kHelpers =
    "def ready(): os.write(4, b'r')\n"
    "def daemon(f):\n"
    "  if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0: f()\n"
    "    os._exit(0)\n"
    "  os.wait()\n"
    "def for_ever():\n"
    "  signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n"
    "  while True: time.sleep(1000)\n";

std::vector<std::string> worker(const std::string& program) { return python(kHelpers + program); }

void check_killed(Launched& launched) {
  Report report = launched.report();
  CHECK(report.keys["status"] == "signaled 9");
  CHECK(report.keys["killed"] == "1");
  CHECK(WEXITSTATUS(launched.exit_status()) == 128 + 9);
}

constexpr int kPromptMs = 5000;  // measured: a few ms; the machine of a test may be busy

}  // namespace

TEST_CASE("end: the BEAM's end kills a worker that spins and ignores everything") {
  Launched launched(worker("for s in range(1, 32):\n"
                           "  if s not in (9, 19): signal.signal(s, signal.SIG_IGN)\n"
                           "ready()\n"
                           "while True: pass"));
  REQUIRE(launched.receive(1) == "r");
  launched.close_writer();
  CHECK(launched.ended_within(kPromptMs));
  check_killed(launched);
}

TEST_CASE("end: the BEAM's end kills a worker that is stopped") {
  Launched launched(worker("ready()\nfor_ever()"));
  REQUIRE(launched.receive(1) == "r");
  const pid_t pid = static_cast<pid_t>(launched.hello().worker);
  REQUIRE(::kill(pid, SIGSTOP) == 0);
  launched.close_writer();
  CHECK(launched.ended_within(kPromptMs));
  check_killed(launched);
}

TEST_CASE("end: the BEAM's end is noticed with unread frames in the pipe") {
  Launched launched(worker("ready()\nfor_ever()"));
  REQUIRE(launched.receive(1) == "r");
  launched.send(std::string(60'000, 'x'));
  launched.close_writer();
  CHECK(launched.ended_within(kPromptMs));
  check_killed(launched);
}

TEST_CASE("end: a worker that holds the writing end of its own 3 still ends with the launcher's parent") {
  Options options;
  options.through_a_parent = true;
  Launched launched(worker("os.open('/proc/self/fd/3', os.O_WRONLY)\nready()\nfor_ever()"), options);
  REQUIRE(launched.receive(1) == "r");
  launched.close_writer();
  CHECK_FALSE(launched.ended_within(50));
  launched.end_parent();
  CHECK(launched.ended_within(kPromptMs));
  check_killed(launched);
}

TEST_CASE("end: SIGKILL of the launcher kills the worker") {
  Launched launched(worker("ready()\nfor_ever()"));
  REQUIRE(launched.receive(1) == "r");
  REQUIRE(::kill(static_cast<pid_t>(launched.hello().launcher), SIGKILL) == 0);
  CHECK(WTERMSIG(launched.exit_status()) == SIGKILL);
  int status = 0;
  const pid_t worker_pid = static_cast<pid_t>(launched.hello().worker);
  CHECK(eventually([&] { return ::waitpid(worker_pid, &status, WNOHANG) == worker_pid; }));  // it is our child now
  CHECK(WTERMSIG(status) == SIGKILL);
}

TEST_CASE("end: a daemon in its own session that holds the pipes dies with the worker and delays nothing") {
  Launched launched(worker("daemon(lambda: (os.write(4, b'%010d' % os.getpid()), for_ever()))\nos.read(3, 1)\nos._exit(3)"));
  const pid_t pid = std::stoi(launched.receive(10));
  // While the worker lives, its daemon does.
  CHECK(status_field(pid, "PPid") == launched.hello().launcher);
  launched.send("x");
  CHECK(launched.ended_within(kPromptMs));
  CHECK_FALSE(exists(pid));
  Report report = launched.report();
  CHECK(report.keys["status"] == "exited 3");
  CHECK(report.keys["killed"] == "0");
  CHECK(report.keys["descendants"] == "1");
}

TEST_CASE("end: children that the worker had not waited for do not count as killed") {
  Launched launched(worker("for i in range(5):\n"
                           "  if os.fork() == 0: os._exit(0)\n"
                           "for i in range(5): os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n"));
  launched.answer_hello();
  CHECK(launched.report().keys["descendants"] == "0");
}

TEST_CASE("end: an orphan that ends while the worker lives is not left as a zombie") {
  Launched launched(worker("daemon(lambda: (os.write(4, b'%010d' % os.getpid()), os._exit(0)))\nos.read(3, 1)"));
  const pid_t pid = std::stoi(launched.receive(10));
  CHECK(eventually([&] { return !exists(pid); }));
  launched.send("x");
  CHECK(launched.report().keys["descendants"] == "0");
}

TEST_CASE("end: a tree that restarts whatever dies, each process in its own session, ends as a whole") {
  // 1 + 6 + 36 + 216 processes; whoever loses a child makes a new one, whoever loses its parent goes on.
  Launched launched(worker("def tend(depth):\n"
                           "  os.setsid() if depth < 3 else None\n"
                           "  signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n"
                           "  for i in range(6): start(depth - 1)\n"
                           "  os.write(4, b'.')\n"
                           "  while True:\n"
                           "    os.wait(); start(depth - 1)\n"
                           "def start(depth):\n"
                           "  if os.fork() == 0:\n"
                           "    if depth: tend(depth)\n"
                           "    os.write(4, b'.'); for_ever()\n"
                           "tend(3)"));
  REQUIRE(launched.receive(1 + 6 + 36 + 216).size() == 259);
  launched.close_writer();
  CHECK(launched.ended_within(5000));
  check_killed(launched);
  CHECK(std::stoi(launched.report().keys["descendants"].c_str()) >= 200);
}

TEST_CASE("end: chains that fork, change the session and exit at once are caught") {
  Launched launched(worker("def chain():\n"
                           "  while True:\n"
                           "    if os.fork(): os._exit(0)\n"
                           "    os.setsid()\n"
                           "for i in range(4): daemon(chain)\n"
                           "ready()\nfor_ever()"));
  REQUIRE(launched.receive(1) == "r");
  launched.close_writer();
  CHECK(launched.ended_within(5000));
  check_killed(launched);
}

TEST_CASE("end: the launcher sleeps while frames pass and while nothing happens") {
  Launched launched(shell("cat <&3 >&4"));
  const pid_t launcher = static_cast<pid_t>(launched.hello().launcher);
  launched.send("first");
  REQUIRE(launched.receive(5) == "first");
  const long long before = status_field(launcher, "voluntary_ctxt_switches");
  const long long forced = status_field(launcher, "nonvoluntary_ctxt_switches");
  REQUIRE(before > 0);
  for (int i = 0; i < 500; ++i) {
    launched.send("frame");
    REQUIRE(launched.receive(5) == "frame");
  }
  CHECK_FALSE(launched.ended_within(300));
  CHECK(status_field(launcher, "voluntary_ctxt_switches") == before);
  CHECK(status_field(launcher, "nonvoluntary_ctxt_switches") == forced);
  launched.close_writer();
}
