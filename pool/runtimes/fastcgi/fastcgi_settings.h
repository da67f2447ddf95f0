// What penstock-fastcgi was told by its command line, and what that makes of a request. Pure but for the look at the
// file system.
#pragma once

#include "pool/runtimes/gateway/meta_variables.h"
#include "pool/runtimes/gateway/script_tree.h"
#include "src/base/result.h"

#include <cstdint>
#include <netinet/in.h>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <utility>
#include <vector>

namespace penstock {

// Where an application listens: "unix:/path", or "host:port" with a numeric host ("[::1]:9000").
struct FcgiAddress {
  sockaddr_storage raw{};
  socklen_t bytes = 0;
  std::string text;
};
[[nodiscard]] Result<FcgiAddress> read_fcgi_address(std::string_view text);
[[nodiscard]] Result<FcgiAddress> unix_fcgi_address(const std::string& path);

struct FastcgiSettings {
  std::optional<FcgiAddress> connect;  // --connect
  std::vector<std::string> start;      // --start, in words
  std::string root;                    // --root; the application may be elsewhere, so it need not be here
  bool has_root = false;
  std::optional<ScriptTree> tree;                                // where it is
  std::string index;                                             // --index
  std::string extension = "php";                                 // --split-path-info
  uint32_t connections = 16;                                     // --connections
  VariableRules variables;                                       // --pass-authorization
  std::vector<std::pair<std::string, std::string>> environment;  // --env
};

[[nodiscard]] Result<FastcgiSettings> read_fastcgi_settings(std::span<char* const> words);

// What the application is asked, or the status that answers instead.
struct FcgiCall {
  unsigned refusal = 0;
  std::string location;  // of a 301
  ScriptMapping mapping;
};
[[nodiscard]] FcgiCall map_script(const FastcgiSettings& settings, const GatewayRequest& request);

}  // namespace penstock
