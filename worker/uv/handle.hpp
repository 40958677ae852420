#pragma once

#include <fcntl.h>
#include <uv.h>

#include <memory>
#include <string>

#include "base/check.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace pyw::uv {

/// Deleter: close now, free later. uv_close is asynchronous, so the struct outlives its owner until the loop has let go of it.
template <class H>
struct CloseThenFree {
  void operator()(H* handle) const noexcept {
    handle->data = nullptr;  // late callbacks see "owner gone" and return
    uv_close(reinterpret_cast<uv_handle_t*>(handle), [](uv_handle_t* closed) { delete reinterpret_cast<H*>(closed); });
  }
};
template <class H>
using Handle = std::unique_ptr<H, CloseThenFree<H>>;

/// Initialises a handle with `init(H*)`; `owner` becomes its data.
template <class H, class Init>
Result<Handle<H>> open(const char* what, void* owner, Init init) {
  auto raw = std::make_unique<H>();  // plain delete is right until libuv knows the struct ...
  if (const int rc = init(raw.get()); rc < 0) return Error{Errc::os, std::string(what) + ": " + uv_strerror(rc)};
  raw->data = owner;
  return Handle<H>(raw.release());  // ... and wrong from here on
}

/// While it lives, new descriptors get numbers above 2. A program that has closed its stdin, or was started without one, has those free, and libuv
/// aborts the process when it closes a descriptor of its own with such a number.
class AboveStandard {
 public:
  AboveStandard() {
    for (int number = 0; number <= STDERR_FILENO; ++number)
      if (::fcntl(number, F_GETFD) < 0) held_[number] = UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  }

 private:
  UniqueFd held_[STDERR_FILENO + 1];
};

/// One uv_loop_t. Its end closes what is left and insists that nothing remains.
class Loop {
 public:
  Loop() { PYW_CHECK(init() == 0, "uv_loop_init"); }
  /// For loops that users make, as many as they like. Err(os): descriptors are used up.
  static Result<std::unique_ptr<Loop>> make() {
    std::unique_ptr<Loop> made(new Loop(Raw{}));
    const int rc = made->init();
    if (rc == 0) return made;
    made->open_ = false;
    return Error{Errc::os, std::string("uv_loop_init: ") + uv_strerror(rc)};
  }
  ~Loop() {
    if (!open_) return;
    uv_walk(&loop_, [](uv_handle_t* handle, void*) {
      if (!uv_is_closing(handle)) uv_close(handle, nullptr);
    }, nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    PYW_CHECK(uv_loop_close(&loop_) == 0, "a uv handle is still open");
  }
  Loop(const Loop&) = delete;
  uv_loop_t* get() { return &loop_; }

 private:
  struct Raw {};
  explicit Loop(Raw) {}
  int init() {
    const AboveStandard numbers;
    return uv_loop_init(&loop_);
  }

  uv_loop_t loop_;
  bool open_ = true;
};

}  // namespace pyw::uv
