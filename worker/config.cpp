#include "config.hpp"

#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "port/header.hpp"

namespace pyw {
namespace {

using Json = nlohmann::json;

/// Thrown and caught in this file only: nlohmann reports by exception, and so do we until parse_config returns.
struct Bad : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Fields = std::map<std::string, std::function<void(const Json&)>>;

void read_object(const std::string& where, const Json& object, const Fields& fields) {
  if (!object.is_object()) throw Bad(where + ": not an object");
  for (const auto& [key, value] : object.items()) {
    const auto field = fields.find(key);
    const std::string path = where.empty() ? key : where + "." + key;
    if (field == fields.end()) throw Bad(path + ": unknown key");
    try {
      field->second(value);
    } catch (const Json::exception& problem) {
      throw Bad(path + ": " + problem.what());
    }
  }
}

template <class T>
std::function<void(const Json&)> into(T& target) {
  return [&target](const Json& value) { target = value.get<T>(); };
}

std::function<void(const Json&)> into(std::uint64_t& target) {
  return [&target](const Json& value) {
    if (!value.is_number_unsigned()) throw Bad("not an unsigned integer: " + value.dump());
    target = value.get<std::uint64_t>();
  };
}

template <class T>
std::function<void(const Json&)> into_optional(std::optional<T>& target) {
  return [&target](const Json& value) {
    if (!value.is_null()) target = value.get<T>();
  };
}

std::function<void(const Json&)> choice(std::string& target, std::vector<std::string> allowed) {
  return [&target, allowed = std::move(allowed)](const Json& value) {
    const auto text = value.get<std::string>();
    for (const auto& one : allowed)
      if (text == one) return void(target = text);
    throw Bad("'" + text + "' is not one of the choices");
  };
}

void read_init(std::optional<WorkerConfig::Init>& init, const Json& value) {
  if (value.is_null()) return;
  init.emplace();
  read_object("init", value,
              {{"code", into(init->text)}, {"module", [&](const Json& name) {
                                              init->text = name.get<std::string>();
                                              init->is_module = true;
                                            }}});
}

void read(WorkerConfig& config, const Json& json) {
  std::uint64_t protocol = 0;
  std::uint64_t max_depth = config.max_depth;
  auto& [memory, cpu_seconds, files, processes] = config.limits;
  read_object("", json,
              {{"protocol", into(protocol)},
               {"context", into(config.context)},
               {"incarnation", into(config.incarnation)},
               {"python",
                [&](const Json& value) {
                  read_object("python", value,
                              {{"executable", into_optional(config.executable)},
                               {"path", into(config.path)},
                               {"package", into(config.package)},
                               {"use_environment", into(config.use_environment)}});
                }},
               {"env", into(config.env)},
               {"cwd", into_optional(config.cwd)},
               {"init", [&](const Json& value) { read_init(config.init, value); }},
               {"limits",
                [&](const Json& value) {
                  read_object("limits", value,
                              {{"memory", into_optional(memory)},
                               {"cpu_seconds", into_optional(cpu_seconds)},
                               {"files", into_optional(files)},
                               {"processes", into_optional(processes)}});
                }},
               {"types",
                [&](const Json& value) {
                  read_object("types", value,
                              {{"atoms", choice(config.types.atoms, {"str", "atom"})},
                               {"binaries", choice(config.types.binaries, {"auto", "bytes", "str"})},
                               {"none", choice(config.types.none, {"none", "nil", "undefined"})}});
                }},
               {"sandbox", choice(config.sandbox, {"none", "audit"})},
               {"spin_us", into(config.spin_us)},
               {"max_frame", into(config.max_frame)},
               {"max_depth", into(max_depth)},
               {"max_callbacks", into(config.max_callbacks)},
               {"output", [&](const Json& value) {
                  read_object("output", value,
                              {{"rate", into(config.output.rate)},
                               {"line", into(config.output.line)},
                               {"credit", into(config.output.credit)}});
                }}});
  if (protocol != port::kProtocolVersion)
    throw Bad("protocol: this worker speaks version " + std::to_string(port::kProtocolVersion) + ", not " + std::to_string(protocol));
  // Frames carry a 32-bit length; the recursion of the converter is bounded by what fits a thread's stack.
  if (config.max_frame == 0 || config.max_frame > 0xf000'0000u) throw Bad("max_frame: out of range");
  if (max_depth == 0 || max_depth > 4096) throw Bad("max_depth: not in 1..4096");
  if (config.max_callbacks == 0) throw Bad("max_callbacks: must be 1 or more");
  config.max_depth = static_cast<std::uint32_t>(max_depth);
  if (config.output.line == 0) throw Bad("output.line: must not be 0");
}

}  // namespace

Result<WorkerConfig> parse_config(Bytes json) {
  WorkerConfig config;
  try {
    read(config, Json::parse(text_of(json)));
  } catch (const std::exception& problem) {
    return Error{Errc::bad_config, problem.what()};
  }
  return config;
}

}  // namespace pyw
