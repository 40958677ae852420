#include "loop/inlet.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace pyw::loop {

Inlet::State Inlet::read() {
  const std::lock_guard lock(mutex_);
  const auto space = reader_.space();
  const ssize_t n = ::read(fd_, space.data(), space.size());
  if (n == 0) return State::ended;
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return State::nothing;
    why_ = {Errc::os, std::string("reading the frame pipe: ") + std::strerror(errno)};
    return State::broken;
  }
  reader_.filled(static_cast<std::size_t>(n));
  return hand_on();
}

Inlet::State Inlet::begin() {
  const std::lock_guard lock(mutex_);
  return hand_on();
}

Inlet::State Inlet::hand_on() {
  port::Frame frame;
  for (;;) {
    switch (reader_.next(frame)) {
      case port::FrameReader::Next::need_more: return State::some;
      case port::FrameReader::Next::broken: why_ = reader_.error(); return State::broken;
      case port::FrameReader::Next::frame: break;
    }
    if (auto taken = session_.receive(std::move(frame)); !taken) {
      why_ = taken.error();
      return State::broken;
    }
  }
}

}  // namespace pyw::loop
