// Whatever comes over the pipe, in whatever chunks: the frame reader and the session must neither crash nor keep more than they were given.
#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "session/session.hpp"

using namespace pyw;

namespace {

struct NoEffects final : session::Effects {
  void signal_main() override {}
  void dump_stacks() override {}
  void more_output_credit(std::uint64_t) override {}
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  port::Outbox outbox(null);
  NoEffects effects;
  session::Session session(outbox, effects, {});
  port::FrameReader reader(/*max_frame=*/1 << 16);
  const std::size_t chunk = data[0] % 64 + 1;  // the first byte chooses the chunking
  for (std::size_t at = 1; at < size;) {
    const auto space = reader.space();
    const std::size_t n = std::min<std::size_t>({chunk, space.size(), size - at});
    std::memcpy(space.data(), data + at, n);
    reader.filled(n);
    at += n;
    port::Frame frame;
    for (;;) {
      const auto next = reader.next(frame);
      if (next == port::FrameReader::Next::broken) return 0;
      if (next == port::FrameReader::Next::need_more) break;
      if (!session.receive(std::move(frame))) return 0;
    }
    // Every other turn main takes something.
    if (at & 1) {
      if (auto running = session.take()) session.finished(running->header.id);
    }
    if (session.has_commands()) session.commands();
    outbox.flush();
  }
  return 0;
}
