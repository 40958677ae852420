// What the worker finds when it begins, and what the owner hears of it.
#include <unistd.h>

#include <fcntl.h>
#include <sys/syscall.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <doctest/doctest.h>

#include <cstdio>
#include <map>
#include <sstream>
#include <utility>

#include "launcher/launched.hpp"

using namespace pyw::test;

namespace {

/// Field 22, found here without the code under test: none of our programs has a blank in its name.
std::uint64_t start_time(pid_t pid) {
  std::ostringstream path;
  path << "/proc/" << pid << "/stat";
  FILE* file = std::fopen(path.str().c_str(), "r");
  REQUIRE(file);
  unsigned long long start = 0;
  CHECK(std::fscanf(file, "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &start) == 1);
  std::fclose(file);
  return start;
}

std::uint64_t pipe_inode(int fd) {
  struct stat facts {};
  REQUIRE(::fstat(fd, &facts) == 0);
  return facts.st_ino;
}

}  // namespace

TEST_CASE("start: HELLO is the first frame and tells the truth, even if the worker writes at once") {
  Launched launched(shell("printf worker >&4; echo $$; head -c 2 <&3"));
  const Hello& hello = launched.hello();
  CHECK(hello.length == 32);
  CHECK(hello.head == 0x40000000u);
  CHECK(hello.version == 1);
  CHECK(hello.start_time == start_time(static_cast<pid_t>(hello.launcher)));
  CHECK(status_field(static_cast<pid_t>(hello.worker), "PPid") == hello.launcher);
  CHECK(launched.receive(6) == "worker");
  launched.send("ok");
  CHECK(launched.exit_status() == 0);
  CHECK(launched.report().sections["stdout"] == std::to_string(hello.worker) + "\nok");
}

TEST_CASE("start: the worker has descriptors 0 to 7 as the protocol says, and no others") {
  Options options;
  options.before_exec = [] { ::dup2(3, 60); ::dup2(4, 5); };  // strays that must not get through
  Launched launched(python("for fd in sorted(map(int, os.listdir('/proc/self/fd'))):\n"
                           "  try: print(fd, os.readlink(f'/proc/self/fd/{fd}'), fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_NONBLOCK | 3))\n"
                           "  except FileNotFoundError: pass  # the listing itself\n"), options);
  launched.answer_hello();
  std::istringstream lines(launched.report().sections["stdout"]);
  struct Line { std::string target; int mode = -1; };
  std::map<int, Line> table;
  int fd = 0;
  for (Line line; lines >> fd && std::getline(lines >> std::ws, line.target);) {
    const std::size_t blank = line.target.rfind(' ');
    line.mode = std::stoi(line.target.substr(blank));
    line.target.resize(blank);
    table[fd] = line;
  }
  REQUIRE(table.size() == 8);
  CHECK(table.rbegin()->first == 7);
  const auto pipe_of = [](int end) { return "pipe:[" + std::to_string(pipe_inode(end)) + "]"; };
  CHECK(table[0].target == "/dev/null");
  CHECK(table[3].target == pipe_of(launched.writer()));
  CHECK(table[4].target == pipe_of(launched.reader()));
  CHECK(table[5].target.rfind("/memfd:py_launcher crash", 0) == 0);
  CHECK(table[6].target == table[1].target);
  CHECK(table[7].target == table[2].target);
  CHECK(table[1].target.rfind("pipe:", 0) == 0);
  CHECK(table[1].target != table[2].target);
  CHECK(table[1].mode == O_WRONLY);
  CHECK(table[2].mode == O_WRONLY);
  CHECK(table[3].mode == O_RDONLY);
  CHECK(table[4].mode == O_WRONLY);
  CHECK(table[5].mode == O_RDWR);
  CHECK(table[6].mode == (O_RDONLY | O_NONBLOCK));
  CHECK(table[7].mode == (O_RDONLY | O_NONBLOCK));
  // Root may always have it; who is not root, as long as the pipes of that user are few.
  if (::geteuid() == 0) CHECK(::fcntl(launched.writer(), F_GETPIPE_SZ) == 1 << 20);
}

TEST_CASE("start: ignored and blocked signals of the BEAM do not reach the worker; it leads its own process group") {
  Options options;
  options.before_exec = [] {
    for (const int signal : {SIGPIPE, SIGCHLD, SIGHUP, SIGUSR1}) ::signal(signal, SIG_IGN);
    // Those that the C library keeps for itself: some programs pass them on ignored.
    std::array<unsigned long, 8> ignored{};
    ignored[0] = 1;  // SIG_IGN, as the kernel has it
    for (const int signal : {32, 33}) ::syscall(SYS_rt_sigaction, signal, ignored.data(), nullptr, std::size_t{8});
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
  };
  Launched launched({"/bin/cat", "/proc/self/status", "/proc/self/stat"}, options);
  launched.answer_hello();
  const std::string text = launched.report().sections["stdout"];
  for (const char* set : {"SigBlk", "SigIgn", "SigCgt"}) {
    CAPTURE(text);
    CHECK(text.find(std::string(set) + ":\t0000000000000000\n") != std::string::npos);
  }
  const std::string pid = std::to_string(launched.hello().worker);
  CHECK(text.find(" (cat) R " + std::to_string(launched.hello().launcher) + " " + pid + " ") != std::string::npos);
}

TEST_CASE("start: a worker that cannot be run is a start failure with the path and the reason, not an exit status to guess from") {
  const std::pair<const char*, const char*> cases[] = {{"/nonexistent/py_worker", "No such file or directory"},
                                                       {"/etc/passwd", "Permission denied"}};
  for (const auto& [path, reason] : cases) {
    Launched launched({path});
    launched.answer_hello();
    Report report = launched.report();
    CHECK(report.keys["status"] == "start_failed");
    CHECK(report.sections["message"] == std::string("cannot run ") + path + ": " + reason);
    CHECK(WEXITSTATUS(launched.exit_status()) == 127);
  }
}

TEST_CASE("start: where no process can be had, the owner still gets HELLO, with worker 0, and the reason") {
  // Root is not held by RLIMIT_NPROC, so the descriptors run out instead: enough for the black box, not for the worker's pipes.
  Options options;
  options.before_exec = [] {
    const rlimit few{16 + 9, 16 + 9};
    ::setrlimit(RLIMIT_NOFILE, &few);
  };
  Launched launched(shell("exit 0"), options);
  CHECK(launched.hello().worker == 0);
  launched.answer_hello();
  Report report = launched.report();
  CHECK(report.keys["status"] == "start_failed");
  CHECK(report.sections["message"].find("cannot start a process for the worker: ") == 0);
}

TEST_CASE("start: not started by a port, it says so instead of reading whatever 3 happens to be") {
  std::string errors;
  CHECK(run_launcher({"/bin/true"}, &errors) == 2);
  CHECK(errors.find("descriptors 3 and 4 are not open") != std::string::npos);
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{}, {"--help"}, {"--kill"}, {"--kill", "1"}, {"--kill", "x", "1"},
                                                    {"--kill", "0", "1"}, {"--kill", "-1", "1"}, {"--kill", "1", "1", "1"}})
    CHECK(run_launcher(arguments) == 2);
}
