#pragma once

#include <cstdint>
#include <unordered_map>

#include "python/ref.hpp"

namespace pyw {

/// The objects that stay in the worker because somebody in the BEAM holds a reference to them.
/// Invariant: an id is never 0 and never used twice within one worker's life, so a stale one finds nothing rather than another object.
/// Threads: any, one at a time. GIL: needed by every function, and by the destructor.
class Handles {
 public:
  /// Owns the object from now on. The id is what the BEAM gets.
  std::uint64_t add(const Gil&, Ref object);
  /// Lends the object until release(); null for an unknown id.
  PyObject* find(const Gil&, std::uint64_t id) const;
  /// Lets the object go, which may run Python code (a finaliser). False: the id was not known.
  bool release(const Gil&, std::uint64_t id);
  /// Lets everything go.
  void clear(const Gil&);
  std::size_t size() const { return objects_.size(); }

 private:
  std::uint64_t next_ = 1;
  std::unordered_map<std::uint64_t, Ref> objects_;
};

}  // namespace pyw
