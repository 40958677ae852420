#pragma once

#include <cstdio>
#include <cstdlib>

/// A broken invariant ends the process with a last word; the supervisor starts a clean one. Also on in release builds.
#define PYW_CHECK(condition, why)                                                                            \
  do {                                                                                                       \
    if (!(condition)) [[unlikely]] {                                                                         \
      std::fprintf(stderr, "py_worker: broken invariant: %s (%s) at %s:%d\n", why, #condition, __FILE__, __LINE__); \
      std::abort();                                                                                          \
    }                                                                                                        \
  } while (false)
