// What penstock-cgi was told by its command line, and which program that makes of a request. Pure but for the look at
// the file system.
#pragma once

#include "pool/runtimes/gateway/meta_variables.h"
#include "pool/runtimes/gateway/script_tree.h"
#include "src/base/result.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

struct CgiSettings {
  std::optional<ScriptTree> tree;                                // --root
  std::map<std::string, std::string, std::less<>> processors;    // --interpreter EXT=PROGRAM
  std::string program;                                           // --program
  bool executables = false;                                      // --executables, and where no interpreter is listed
  uint32_t concurrency = 64;                                     // --concurrency
  uint32_t cpu_seconds = 0;                                      // --cpu-seconds; 0: no limit
  VariableRules variables;                                       // --pass-authorization
  std::vector<std::pair<std::string, std::string>> environment;  // --env
};

[[nodiscard]] Result<CgiSettings> read_cgi_settings(std::span<char* const> words);

// The program for a request, or the status that answers instead.
struct CgiCall {
  unsigned refusal = 0;  // 0: run it
  std::string why;       // for the log; empty: an everyday matter
  std::string program;
  std::vector<std::string> words;
  std::string directory;
  ScriptMapping mapping;
};
[[nodiscard]] CgiCall choose_program(const CgiSettings& settings, const GatewayRequest& request);

}  // namespace penstock
