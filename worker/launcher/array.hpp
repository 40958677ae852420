#pragma once

#include <cstddef>
#include <cstdlib>
#include <type_traits>

#include "base/check.hpp"

namespace pyw::launcher {

/// A growing array of plain values. Exists because std::vector would bring the exception machinery of libstdc++ into a program
/// that has to stay small. Invariant: size_ <= capacity_; memory that cannot be had is a broken invariant.
/// Threads: the launcher has one.
template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { std::free(items_); }
  void clear() { size_ = 0; }
  void push(const T& item) {
    if (size_ == capacity_) grow();
    items_[size_++] = item;
  }
  std::size_t size() const { return size_; }
  T* begin() { return items_; }
  T* end() { return items_ + size_; }
  const T* begin() const { return items_; }
  const T* end() const { return items_ + size_; }
  const T& operator[](std::size_t at) const { return items_[at]; }

 private:
  void grow() {
    capacity_ = capacity_ ? 2 * capacity_ : 64;
    items_ = static_cast<T*>(std::realloc(static_cast<void*>(items_), capacity_ * sizeof(T)));
    PYW_CHECK(items_, "out of memory");
  }
  T* items_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace pyw::launcher
