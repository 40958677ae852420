#include "session/lineage.hpp"

namespace pyw::session {

unsigned Lineage::depth_below(std::uint64_t parent) const {
  const auto callback = origins_.find(parent);
  if (parent == 0 || callback == origins_.end()) return 0;
  const auto request = nested_.find(callback->second);
  return request == nested_.end() ? 1 : request->second.depth + 1;
}

bool Lineage::descends(std::uint64_t callback, std::uint64_t ancestor) const {
  while (callback != ancestor) {
    const auto made_by = origins_.find(callback);
    if (made_by == origins_.end()) return false;
    const auto request = nested_.find(made_by->second);
    if (request == nested_.end()) return false;
    callback = request->second.parent;  // older each time, so this ends
  }
  return true;
}

}  // namespace pyw::session
