#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "launcher/kill.hpp"
#include "launcher/launch.hpp"

// The parent of a worker: docs/protocol.md sections 1, 3 and 7. Statically linked and small, because one stays beside every worker
// and because it must run wherever a release is put. One thread; no Python; no allocation while it waits.

namespace {

int usage() {
  std::fputs("usage: py_launcher WORKER [ARGS...]              (as an Erlang port with nouse_stdio: frames on 3 and 4)\n"
             "       py_launcher --kill LAUNCHER_PID START_TIME\n", stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return usage();
  // 3 and 4 are closed when launch() returns: no exit handler (a leak checker, say) may keep the process beyond that.
  if (argv[1][0] != '-') ::_exit(pyw::launcher::launch(argv + 1));
  if (argc != 4 || std::strcmp(argv[1], "--kill") != 0) return usage();
  const int status = pyw::launcher::kill_launcher(argv[2], argv[3]);
  return status == 2 ? usage() : status;
}
