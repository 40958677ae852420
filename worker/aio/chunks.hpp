#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace pyw::aio {

/// A vector in blocks: it grows without moving what is there, has at most two blocks more than it needs, and gives back what it no longer does. With a
/// million elements a std::vector has a quarter more on the average, and leaves the blocks that it grew out of to the allocator.
/// Threads: not synchronised.
template <class T>
class Chunks {
 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t at) { return blocks_[at / kBlock][at % kBlock]; }
  const T& operator[](std::size_t at) const { return blocks_[at / kBlock][at % kBlock]; }
  /// Not empty.
  T& back() { return (*this)[size_ - 1]; }

  void push_back(const T& value) {
    if (size_ == blocks_.size() * kBlock) blocks_.push_back(std::make_unique_for_overwrite<T[]>(kBlock));
    (*this)[size_++] = value;
  }
  /// Not empty.
  void pop_back() {
    --size_;
    if (size_ + 2 * kBlock == blocks_.size() * kBlock) blocks_.pop_back();  // the one that is left over is for the next
  }

 private:
  static constexpr std::size_t kBlock = 256;

  std::vector<std::unique_ptr<T[]>> blocks_;
  std::size_t size_ = 0;
};

}  // namespace pyw::aio
