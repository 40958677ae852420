#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace pyw::aio {

/// A queue in one block of memory that is used round and round, and doubled when it is full. What is popped is gone at once.
/// Invariant: the capacity is a power of two. Threads: not synchronised.
template <class T>
class Ring {
 public:
  Ring() : slots_(kFirst) {}

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  void push(T value) {
    if (size_ == slots_.size()) grow();
    slots_[(first_ + size_++) & (slots_.size() - 1)] = std::move(value);
  }

  /// Not empty.
  T pop() {
    T value = std::move(slots_[first_]);
    first_ = (first_ + 1) & (slots_.size() - 1);
    --size_;
    return value;
  }

  /// The i-th from the front.
  T& at(std::size_t i) { return slots_[(first_ + i) & (slots_.size() - 1)]; }

 private:
  static constexpr std::size_t kFirst = 64;

  void grow() {
    std::vector<T> larger(slots_.size() * 2);
    for (std::size_t i = 0; i < size_; ++i) larger[i] = std::move(at(i));
    slots_ = std::move(larger);
    first_ = 0;
  }

  std::vector<T> slots_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace pyw::aio
