// What the owner can still read of a worker that is dead.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include <doctest/doctest.h>

#include "launcher/launched.hpp"

using namespace pyw::test;

TEST_CASE("report: exit code 139 and death by SIGSEGV are told apart, though a shell would call both 139") {
  Launched code(shell("exit 139"));
  code.answer_hello();
  CHECK(code.report().keys["status"] == "exited 139");
  CHECK(WEXITSTATUS(code.exit_status()) == 139);

  Launched fault(shell("ulimit -c 0; kill -SEGV $$"));
  fault.answer_hello();
  Report report = fault.report();
  CHECK(report.keys["status"] == "signaled 11");
  CHECK(report.keys["core"] == "0");
  CHECK(report.keys["killed"] == "0");
  CHECK(WEXITSTATUS(fault.exit_status()) == 139);
}

TEST_CASE("report: a SIGKILL from elsewhere (the system's out-of-memory killer, say) is not claimed as ours") {
  Launched launched(shell("kill -KILL $$"));
  launched.answer_hello();
  Report report = launched.report();
  CHECK(report.keys["status"] == "signaled 9");
  CHECK(report.keys["killed"] == "0");
}

TEST_CASE("report: the worker's cpu time and memory are in it") {
  Launched launched(python("b = bytearray(60 << 20)\nend = time.process_time() + 0.05\nwhile time.process_time() < end: pass"));
  launched.answer_hello();
  Report report = launched.report();
  CHECK(std::stoll(report.keys["user_us"]) + std::stoll(report.keys["system_us"]) >= 50'000);
  CHECK(std::stoll(report.keys["max_rss_kb"]) >= 60 << 10);
}

TEST_CASE("report: what the output pipes still hold appears, each stream for itself, the last 64 KiB of it") {
  Launched launched(python("fcntl.fcntl(1, 1031, 1 << 20)  # F_SETPIPE_SZ\n"
                           "os.write(1, b''.join(b'%07d\\n' % i for i in range(25000)))\n"
                           "os.write(2, b'last words, without a newline\\0')"));
  launched.answer_hello();
  Report report = launched.report();
  std::string expected;
  for (int i = 25000 - 64 * 1024 / 8; i < 25000; ++i) expected += std::to_string(10'000'000 + i).substr(1) + "\n";
  CHECK(report.sections["stdout"].size() == 64 * 1024);
  CHECK((report.sections["stdout"] == expected));
  CHECK(report.sections["stderr"] == std::string("last words, without a newline\0", 30));
}

TEST_CASE("report: a worker that made its read ends blocking and gave its pipe to a stranger cannot hold the launcher") {
  Launched launched(python("os.set_blocking(6, True); os.set_blocking(7, True); os.write(4, b'r'); os.read(3, 1)"));
  REQUIRE(launched.receive(1) == "r");
  const std::string out = "/proc/" + std::to_string(launched.hello().worker) + "/fd/1";
  const pyw::UniqueFd stranger(::open(out.c_str(), O_WRONLY | O_CLOEXEC));
  REQUIRE(stranger);
  launched.send("x");
  REQUIRE(launched.ended_within(3000));
  CHECK(launched.report().keys["status"] == "exited 0");
}

TEST_CASE("report: the crash file holds what was written before the signal; it cannot be grown, shrunk or sealed against writing") {
  Launched launched(python("def refused(f):\n"
                           "  try: f(); return b'0'\n"
                           "  except OSError: return b'1'\n"
                           "os.write(1, refused(lambda: os.ftruncate(5, 0)) + refused(lambda: os.ftruncate(5, 1 << 20)) +\n"
                           "   refused(lambda: os.pwrite(5, b'x', 128 * 1024)) + refused(lambda: fcntl.fcntl(5, 1033, 8)))\n"
                           "os.write(5, b'Fatal Python error: a\\0b')\n"
                           "os.kill(os.getpid(), signal.SIGABRT)"));
  launched.answer_hello();
  Report report = launched.report();
  CHECK(report.keys["status"] == "signaled 6");
  CHECK(report.sections["stack"] == std::string("Fatal Python error: a\0b", 23));
  CHECK(report.sections["stdout"] == "1111");
}

TEST_CASE("report: a full crash file is read to its last byte") {
  Launched launched(python("os.write(5, b'a' * 64 * 1024)"));
  launched.answer_hello();
  CHECK(launched.report().sections["stack"] == std::string(64 * 1024, 'a'));
}

TEST_CASE("what the worker had taken out of a pipe and not sent stands before what the pipe still holds") {
  Launched launched(python("import struct\n"
                           "os.pwrite(5, struct.pack('=I', 3) + b'onetwo', 96 * 1024)\n"
                           "os.pwrite(5, struct.pack('=I', 0xffffffff) + b'a lie', 64 * 1024)\n"
                           "os.write(2, b'two'); os.kill(os.getpid(), 9)"));
  launched.answer_hello();
  Report report = launched.report();
  CHECK(report.sections["stderr"] == "onetwo");
  CHECK(report.sections["stdout"] == "");
}

namespace {

/// Empty if the launcher did not wait for its owner, or waited although that had come.
std::string status_for_a_late_owner() {
  Options options;
  options.open_report = false;
  Launched launched(shell("exit 7"), options);
  REQUIRE(eventually([&] { return !exists(static_cast<pid_t>(launched.hello().worker)); }));
  if (launched.ended_within(50) || !launched.open_report()) return "";
  launched.answer_hello();
  return launched.ended_within(500) ? launched.report().keys["status"] : "";
}

/// A machine that stands still for a moment may use up the second for which a launcher waits: not three times.
constexpr int kRuns = 3;

}  // namespace

TEST_CASE("report: the owner is late: the worker is dead before the report was opened, and it is still there") {
  std::string status;
  for (int run = 0; run < kRuns && status.empty(); ++run) status = status_for_a_late_owner();
  CHECK(status == "exited 7");
}

TEST_CASE("report: a start failure that has read its CONFIG is not held up when the owner has the report") {
  long long fastest = 5000;
  for (int run = 0; run < kRuns && fastest >= 800; ++run) {
    Launched launched(shell("head -c 6 <&3 >/dev/null; exit 1"));
    const long long before = now_ms();
    launched.send("CONFIG");
    CHECK(launched.ended_within(5000));
    fastest = std::min(fastest, now_ms() - before);
    CHECK(launched.report().keys["status"] == "exited 1");
  }
  CHECK(fastest < 800);
}

TEST_CASE("report: an owner that never opens it delays the end by a second and no more") {
  Options options;
  options.open_report = false;
  Launched launched(shell("exit 0"), options);
  CHECK(launched.ended_within(3000));
}

namespace {

/// Opens the report as the owner does, and writes a lie into it.
const std::string kForge =
    "launcher = os.getppid()\n"
    "for name in os.listdir(f'/proc/{launcher}/fd'):\n"
    "  if 'py_launcher report' in os.readlink(f'/proc/{launcher}/fd/{name}'):\n"
    "    fd = os.open(f'/proc/{launcher}/fd/{name}', os.O_RDWR)\n"
    "lie = b'py_launcher 1\\nstatus exited 0\\ncore 0\\nkilled 0\\nuser_us 0\\nsystem_us 0\\nmax_rss_kb 1\\ndescendants 0\\n'\n"
    "os.pwrite(fd, lie + b'message 0\\n\\nstack 5\\nlies!\\nstdout 0\\n\\nstderr 0\\n\\n' + b'x' * 1000, 0)\n";

}  // namespace

TEST_CASE("report: what a worker writes into it is overwritten; it cannot be sealed with a lie in it") {
  Launched launched(python(kForge + "try: fcntl.fcntl(fd, 1033, 8)  # F_ADD_SEALS, F_SEAL_WRITE\n"
                                    "except OSError: os.write(1, b'refused')\n"
                                    "os.kill(os.getpid(), signal.SIGTERM)"));
  launched.answer_hello();
  Report report = launched.report();
  CHECK(report.keys["status"] == "signaled 15");
  CHECK(report.sections["stack"].empty());
  CHECK(report.sections["stdout"] == "refused");
}

TEST_CASE("report: one that cannot be written is empty, and the launcher's status says how the worker ended") {
  Launched launched(python(kForge + "import resource\n"
                                    "resource.prlimit(launcher, resource.RLIMIT_FSIZE, (0, 0))\n"
                                    "os.kill(os.getpid(), signal.SIGTERM)"));
  launched.answer_hello();
  CHECK(WEXITSTATUS(launched.exit_status()) == 128 + SIGTERM);
  CHECK(launched.report_text().empty());
}
