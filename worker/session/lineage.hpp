#pragma once

#include <cstdint>
#include <unordered_map>

namespace pyw::session {

/// Who descends from whom, as long as it matters: a request of the BEAM may descend from a callback of ours that is out (its
/// `parent`), and a callback from the request that made it (its origin). What has ended is forgotten, and with it the way through it.
/// Pure. Threads: not synchronised.
class Lineage {
 public:
  /// A callback made by request `origin` (0: by nobody's request) is out.
  void callback_out(std::uint64_t id, std::uint64_t origin) { origins_.emplace(id, origin); }
  void callback_back(std::uint64_t id) { origins_.erase(id); }
  /// How deep a request with this parent lies: 0 for one that descends from nothing (any more).
  unsigned depth_below(std::uint64_t parent) const;
  /// Remembers a request that depth_below() its parent is not 0.
  void request_in(std::uint64_t id, std::uint64_t parent) { nested_.emplace(id, Nested{parent, depth_below(parent)}); }
  void request_done(std::uint64_t id) { nested_.erase(id); }
  bool is_nested(std::uint64_t request) const { return nested_.contains(request); }
  /// The callback that a nested request descends from; 0: none.
  std::uint64_t parent(std::uint64_t request) const {
    const auto found = nested_.find(request);
    return found == nested_.end() ? 0 : found->second.parent;
  }
  /// Whether `callback` is `ancestor` or was made, through whatever lies between, by a request that descends from it.
  bool descends(std::uint64_t callback, std::uint64_t ancestor) const;

 private:
  struct Nested {
    std::uint64_t parent;
    unsigned depth;
  };
  std::unordered_map<std::uint64_t, std::uint64_t> origins_;  ///< callback -> request
  std::unordered_map<std::uint64_t, Nested> nested_;          ///< request -> callback
};

}  // namespace pyw::session
