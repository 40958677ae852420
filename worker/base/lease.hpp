#pragma once

#include <utility>

namespace pyw {

/// Keeps somebody else's memory alive until it is destroyed: a function and its argument, nothing more, so that port/ can
/// hold on to a Python object without knowing what one is. Move-only. What the function needs (the GIL, say) the maker says.
class Lease {
 public:
  using End = void (*)(void*);
  Lease() = default;
  Lease(End end, void* what) : end_(end), what_(what) {}
  Lease(Lease&& other) noexcept : end_(std::exchange(other.end_, nullptr)), what_(other.what_) {}
  Lease& operator=(Lease&& other) noexcept {
    std::swap(end_, other.end_);
    std::swap(what_, other.what_);
    return *this;
  }
  explicit operator bool() const { return end_; }
  ~Lease() {
    if (end_) end_(what_);
  }

 private:
  End end_ = nullptr;
  void* what_ = nullptr;
};

}  // namespace pyw
