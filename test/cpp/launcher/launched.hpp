#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"

namespace pyw::test {

struct Hello {
  std::uint32_t length = 0, worker = 0, launcher = 0, report_fd = 0;
  std::uint64_t head = 0, version = 0, start_time = 0;  ///< head: the 4 bytes of kind, flags, namespace
};

/// The report, parsed strictly: `keys` holds the lines, `sections` the bytes.
struct Report {
  std::map<std::string, std::string> keys, sections;
};

struct Options {
  bool open_report = true;           ///< as the owner does when it gets HELLO
  bool through_a_parent = false;     ///< the launcher's parent is a process that end_parent() ends, not the test itself
  std::function<void()> before_exec; ///< runs in the launcher's process
};

/// A launcher with its worker, started as an Erlang port would: pipes on 3 and 4. The test is the owner.
/// The bill on the way out: the launcher is reaped and no process of it is left. The test process is a subreaper, so that whatever
/// gets away from a launcher turns up among its children.
class Launched {
 public:
  explicit Launched(std::vector<std::string> worker, Options options = {});
  ~Launched();
  const Hello& hello() const { return hello_; }
  std::string report_path() const;
  bool open_report();                    ///< false: the launcher is gone
  void send(const std::string& bytes);   ///< to the worker's 3
  /// What an owner sends first. The launcher waits for it only as long as nobody has opened the report, so it and a worker that
  /// does not read may both be gone by then.
  void answer_hello();
  std::string receive(std::size_t size); ///< of the worker's 4; shorter when the end comes or nothing comes for 10 s
  void close_writer() { to_worker_.reset(); }
  void end_parent();
  bool ended_within(int ms);             ///< end of file on 4, which takes the launcher and everybody else to close it
  int exit_status();                     ///< of the launcher, as waitpid gives it; waits
  std::string report_text();
  Report report();                       ///< after the end, through the descriptor opened earlier
  int writer() const { return to_worker_.get(); }
  int reader() const { return from_worker_.get(); }

 private:
  UniqueFd to_worker_, from_worker_, report_, parent_gate_;
  Hello hello_;
  pid_t launcher_ = 0, parent_ = 0;
  int status_ = -1;
  bool reaped_ = false;
};

/// The worker is this Python program; os, signal, sys, fcntl, time are imported.
std::vector<std::string> python(const std::string& program);
std::vector<std::string> shell(const std::string& program);
/// Runs the launcher program with arguments and without pipes; its exit status, and its stderr if wanted.
int run_launcher(const std::vector<std::string>& arguments, std::string* errors = nullptr);
/// Field `name:` of /proc/PID/status as a number.
long long status_field(pid_t pid, const std::string& name);
/// Looks again and again until `holds` or 5 s are over. Only for what has no event one could wait for.
bool eventually(const std::function<bool()>& holds);
bool exists(pid_t pid);
long long now_ms();

}  // namespace pyw::test
