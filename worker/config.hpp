#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace pyw {

/// The start configuration: docs/protocol.md, section 4. Strings are UTF-8, sizes bytes.
struct WorkerConfig {
  struct Init {
    std::string text;
    bool is_module = false;
  };
  struct Limits {
    std::optional<std::uint64_t> memory, cpu_seconds, files, processes;
  };
  struct Types {
    std::string atoms = "str";
    std::string binaries = "auto";
    std::string none = "none";
  };
  struct Output {
    std::uint64_t rate = 1000;  ///< lines per second and stream
    std::uint64_t line = 8192;
    std::uint64_t credit = 256;  ///< lines
  };
  std::string context;
  std::uint64_t incarnation = 0;
  std::optional<std::string> executable;
  std::vector<std::string> path;
  std::string package;
  bool use_environment = false;
  std::map<std::string, std::string> env;
  std::optional<std::string> cwd;
  std::optional<Init> init;
  Limits limits;
  Types types;
  std::string sandbox = "none";  ///< or "audit"
  std::uint64_t spin_us = 50;
  std::uint64_t max_frame = 256u << 20;
  std::uint32_t max_depth = 1024;
  std::uint64_t max_callbacks = 10000;  ///< from Python to Erlang, unanswered at a time
  Output output;
};

/// Err(bad_config) names the key and what is wrong with it; an unknown key is an error.
Result<WorkerConfig> parse_config(Bytes json);

}  // namespace pyw
