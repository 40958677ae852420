#include "python/handles.hpp"

namespace pyw {

std::uint64_t Handles::add(const Gil&, Ref object) {
  const std::uint64_t id = next_++;
  objects_.emplace(id, std::move(object));
  return id;
}

PyObject* Handles::find(const Gil&, std::uint64_t id) const {
  const auto found = objects_.find(id);
  return found == objects_.end() ? nullptr : found->second.get();
}

bool Handles::release(const Gil&, std::uint64_t id) {
  const auto found = objects_.find(id);
  if (found == objects_.end()) return false;
  // Out of the table first: the finaliser may come back to it.
  const Ref last = std::move(found->second);
  objects_.erase(found);
  return true;
}

void Handles::clear(const Gil&) {
  std::unordered_map<std::uint64_t, Ref> gone;
  gone.swap(objects_);
}

}  // namespace pyw
