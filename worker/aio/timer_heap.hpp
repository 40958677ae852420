#pragma once

#include <cstddef>
#include <cstdint>

#include "aio/chunks.hpp"

namespace pyw::aio {

/// Timers by the time at which they are due, equal ones in the order in which they were added. A heap with four children per node:
/// half as deep as one with two, and the children of a node share a cache line or two. Each timer knows its place (`T::place`), so
/// cancelling one is a removal, O(log n), and nothing of it stays behind.
/// T is a pointer to something with `std::uint32_t place`, which belongs to the heap while the timer is in it.
/// Pure: no clock. Threads: not synchronised.
template <class T>
class TimerHeap {
 public:
  bool empty() const { return nodes_.empty(); }
  std::size_t size() const { return nodes_.size(); }
  /// Nanoseconds of the monotonic clock. Not empty.
  std::uint64_t next_due() const { return nodes_[0].due; }

  void add(std::uint64_t due, T timer) {
    nodes_.push_back({due, serial_++, timer});
    rise(nodes_.size() - 1);
  }

  /// The earliest one. Not empty.
  T take() {
    T timer = nodes_[0].timer;
    remove_at(0);
    return timer;
  }

  /// One that is in the heap.
  void remove(T timer) { remove_at(timer->place); }

  /// Calls `look(timer)` for each, in no order, until it returns something else than 0; returns that.
  template <class Look>
  int each(Look look) const {
    for (std::size_t at = 0; at < nodes_.size(); ++at)
      if (const int stop = look(nodes_[at].timer)) return stop;
    return 0;
  }

  /// Hands out any of them, in no order, until none is left.
  T take_any() {
    T timer = nodes_.back().timer;
    nodes_.pop_back();
    return timer;
  }

 private:
  struct Node {
    std::uint64_t due;
    std::uint64_t serial;
    T timer;
    bool before(const Node& other) const { return due != other.due ? due < other.due : serial < other.serial; }
  };
  static constexpr std::size_t kChildren = 4;

  void put(std::size_t at, const Node& node) {
    nodes_[at] = node;
    node.timer->place = static_cast<std::uint32_t>(at);
  }

  void remove_at(std::size_t at) {
    const Node last = nodes_.back();
    nodes_.pop_back();
    if (at == nodes_.size()) return;
    nodes_[at] = last;
    if (at > 0 && last.before(nodes_[(at - 1) / kChildren]))
      rise(at);
    else
      sink(at);
  }

  void rise(std::size_t at) {
    const Node node = nodes_[at];
    while (at > 0) {
      const std::size_t parent = (at - 1) / kChildren;
      if (!node.before(nodes_[parent])) break;
      put(at, nodes_[parent]);
      at = parent;
    }
    put(at, node);
  }

  void sink(std::size_t at) {
    const Node node = nodes_[at];
    for (;;) {
      const std::size_t first = at * kChildren + 1;
      if (first >= nodes_.size()) break;
      const std::size_t end = first + kChildren < nodes_.size() ? first + kChildren : nodes_.size();
      std::size_t least = first;
      for (std::size_t child = first + 1; child < end; ++child)
        if (nodes_[child].before(nodes_[least])) least = child;
      if (!nodes_[least].before(node)) break;
      put(at, nodes_[least]);
      at = least;
    }
    put(at, node);
  }

  Chunks<Node> nodes_;
  std::uint64_t serial_ = 0;
};

}  // namespace pyw::aio
