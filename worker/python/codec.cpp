#include "python/codec.hpp"

#include <cstring>

#include "python/erlang_module.hpp"
#include "python/utf8.hpp"

namespace pyw {
namespace {

std::size_t slot_of(Bytes text, std::size_t slots) {
  std::uint64_t hash = text.size() * 0x9E3779B97F4A7C15u;
  const std::byte* at = text.data();
  std::size_t left = text.size();
  const auto mix = [&hash](std::uint64_t word) {
    hash = (hash ^ word) * 0xFF51AFD7ED558CCDu;
    hash ^= hash >> 32;
  };
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  std::uint64_t rest = 0;
  if (left > 0) std::memcpy(&rest, at, left);
  mix(rest);
  return hash % slots;
}

bool is(PyObject* text, Bytes bytes) {
  return PyUnicode_GET_LENGTH(text) == static_cast<Py_ssize_t>(bytes.size()) && std::memcmp(PyUnicode_DATA(text), bytes.data(), bytes.size()) == 0;
}

}  // namespace

PyObject* TextCache::get(Bytes text) {
  const auto* chars = reinterpret_cast<const char*>(text.data());
  const auto size = static_cast<Py_ssize_t>(text.size());
  if (text.empty() || text.size() > kMaxSize) return PyUnicode_DecodeUTF8(chars, size, nullptr);
  Ref& slot = slots_[slot_of(text, slots_.size())];
  if (!slot || !is(slot.get(), text)) {
    Ref made = Ref::steal(PyUnicode_DecodeUTF8(chars, size, nullptr));
    if (!made || !PyUnicode_IS_COMPACT_ASCII(made.get())) return made.release();
    std::swap(slot, made);
  }
  Py_INCREF(slot.get());
  return slot.get();
}

Codec::Codec(TypeOptions options, Handles& handles, const Terms& terms, Encoders& encoders, Ref keep_alive)
    : keep_alive_(std::move(keep_alive)), terms_(terms), encoders_(encoders), handles_(handles), options_(std::move(options)) {}

Result<std::unique_ptr<Codec>> Codec::make(const Gil& gil, TypeOptions options, Handles& handles) {
  if (options.limits.max_depth > kMaxDepth)
    return Error{Errc::bad_config, "max_depth is " + std::to_string(options.limits.max_depth) + "; at most " + std::to_string(kMaxDepth) + " is possible"};
  if (options.none != "none" && options.none != "nil" && options.none != "undefined")
    return Error{Errc::bad_config, "None can become none, nil or undefined, not " + options.none};
  Ref module = Ref::steal(PyImport_ImportModule("_erlang"));
  if (!module) {
    PyErr_Print();  // the cause goes to stderr, whose last lines a failed start carries
    return Error{Errc::python, "the built-in module _erlang cannot be imported"};
  }
  auto& state = module_state(gil, module.get());
  return std::make_unique<Codec>(std::move(options), handles, state.terms, state.encoders, std::move(module));
}

}  // namespace pyw
