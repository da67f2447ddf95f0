// What penstock-upstream was told by its command line, and what that makes of a request. Pure but for the look at the
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
struct UpstreamAddress {
  sockaddr_storage raw{};
  socklen_t bytes = 0;
  std::string text;
};
[[nodiscard]] Result<UpstreamAddress> read_upstream_address(std::string_view text);
[[nodiscard]] Result<UpstreamAddress> unix_upstream_address(const std::string& path);

// What is spoken with the application.
enum class UpstreamProtocol : uint8_t { FASTCGI, SCGI, UWSGI, HTTP };

struct UpstreamSettings {
  UpstreamProtocol protocol = UpstreamProtocol::FASTCGI;  // --protocol
  std::optional<UpstreamAddress> connect;                 // --connect
  std::vector<std::string> start;                         // --start, in words
  std::string root;  // --root; the application may be elsewhere, so it need not be here
  bool has_root = false;
  std::optional<ScriptTree> tree;                                // where it is
  std::string index;                                             // --index
  std::string extension = "php";                                 // --split-path-info
  uint32_t connections = 16;                                     // --connections
  VariableRules variables;                                       // --pass-authorization
  std::vector<std::pair<std::string, std::string>> environment;  // --env
};

[[nodiscard]] Result<UpstreamSettings> read_upstream_settings(std::span<char* const> words);

// What the application is asked, or the status that answers instead.
struct ScriptCall {
  unsigned refusal = 0;
  std::string location;  // of a 301
  ScriptMapping mapping;
};
[[nodiscard]] ScriptCall map_script(const UpstreamSettings& settings, const GatewayRequest& request);

}  // namespace penstock
