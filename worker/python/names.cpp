#include "python/names.hpp"

namespace pyw {
namespace {
// Names come from callers: they must not fill our memory.
constexpr std::size_t kCachedTargets = 4096;
constexpr std::size_t kCachedSize = 1024;

/// Interned, if it is short: CPython 3.12 keeps for ever what has been interned. Empty: an exception is pending.
Ref name_of(const Gil&, std::string_view name) {
  PyObject* text = PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "strict");
  if (text && name.size() <= kCachedSize) PyUnicode_InternInPlace(&text);
  return Ref::steal(text);
}

}  // namespace

bool read_name(etf::Reader& in, std::string_view what, std::string& out, std::string& why) {
  etf::Token token;
  if (!in.next(token)) return why = in.error(), false;
  switch (token.kind) {
    case etf::Kind::atom:
    case etf::Kind::binary:
    case etf::Kind::string: out.assign(text_of(token.bytes)); break;
    default: return why = std::string(what) + " is no atom, binary or string", false;
  }
  if (out.empty()) return why = std::string(what) + " is empty", false;
  return true;
}

std::vector<Ref> split_name(const Gil& gil, std::string_view name, std::string& why) {
  std::vector<Ref> parts;
  for (std::size_t from = 0; from <= name.size();) {
    const std::size_t dot = std::min(name.find('.', from), name.size());
    const std::string_view part = name.substr(from, dot - from);
    if (part.empty()) {
      why = "the name '" + std::string(name) + "' has an empty part";
      return {};
    }
    parts.push_back(name_of(gil, part));
    if (!parts.back()) return {};
    from = dot + 1;
  }
  return parts;
}

Ref attribute_path(const Gil&, Ref object, const std::vector<Ref>& names) {
  for (const auto& name : names) {
    object = Ref::steal(PyObject_GetAttr(object.get(), name.get()));
    if (!object) return {};
  }
  return object;
}

std::shared_ptr<const Target> TargetCache::find(const Gil& gil, etf::Reader& in, std::string& why) {
  etf::Reader ahead = in;
  Bytes module_bytes, function_bytes;
  if (!ahead.skip(&module_bytes) || !ahead.skip(&function_bytes)) return why = ahead.error(), nullptr;
  // The two terms lie side by side in the frame, so one view covers both.
  const std::string_view key(reinterpret_cast<const char*>(module_bytes.data()), module_bytes.size() + function_bytes.size());
  if (const auto known = targets_.find(key); known != targets_.end()) {
    in = ahead;
    return known->second;
  }
  std::string module, function;
  if (!read_name(in, "the module", module, why) || !read_name(in, "the function", function, why)) return nullptr;
  auto target = std::make_shared<Target>();
  target->module = name_of(gil, module);
  if (!target->module) return nullptr;
  target->path = split_name(gil, function, why);
  if (target->path.empty()) return nullptr;
  if (key.size() > kCachedSize) return target;
  if (targets_.size() >= kCachedTargets) targets_.clear();
  return targets_.emplace(std::string(key), std::move(target)).first->second;
}

Ref TargetCache::resolve(const Gil& gil, const Target& target, InterruptPoint& interrupts) {
  Ref module = Ref::steal(PyImport_GetModule(target.module.get()));
  if (!module || module.get() == Py_None) {
    if (PyErr_Occurred()) return {};
    {
      const InterruptPoint::Hold whole(gil, interrupts);
      module = Ref::steal(PyImport_Import(target.module.get()));
    }
    if (module && PyErr_CheckSignals() != 0) return {};
  }
  if (!module) return {};
  return attribute_path(gil, std::move(module), target.path);
}

}  // namespace pyw
