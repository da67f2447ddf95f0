// The meta-variables of a request (RFC 3875 section 4.1), as an environment for CGI and as PARAMS for FastCGI.
//
// Pure but for request_of(). A name is set once: what came first stays, so that what the operator gave by --env goes
// before what a client can influence. Of the request's fields only those pass whose names are letters, digits and
// hyphens ("X_A" would be the same variable as "X-A"); Proxy never does (it would become HTTP_PROXY, which programs
// take for their own proxy), nor what has a variable of its own or belongs to the connection (section 4.1.18).
#pragma once

#include "pool/sdk/penstock_worker.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

class MetaVariables {
 public:
  static constexpr size_t BYTES_MAX = 128 * 1'024;  // names, values and two bytes for each
  MetaVariables() {                                 // room for what most requests have
    text_.reserve(2'048);
    places_.reserve(48);
  }

  // Ignored where the name is set, or either has a NUL, which no environment can carry.
  void set(std::string_view name, std::string_view value);
  [[nodiscard]] bool fits() const { return text_.size() <= BYTES_MAX; }
  [[nodiscard]] size_t count() const { return places_.size(); }
  [[nodiscard]] std::pair<std::string_view, std::string_view> at(size_t number) const;
  // data() is null where it is not set.
  [[nodiscard]] std::string_view find(std::string_view name) const;
  // For execve(2): "NAME=value" each, and a null at the end. Valid until the next set().
  [[nodiscard]] std::vector<char*> environment();

 private:
  struct Place {
    size_t at;
    size_t name_bytes;
    size_t value_bytes;
  };
  std::string text_;  // NAME=value\0NAME=value\0...
  std::vector<Place> places_;
  uint64_t marks_ = 0;  // of the names that are set, a bit each: most others are seen not to be without a look
};

// What of a request the variables are made of. Views into the exchange, valid while that is open.
struct GatewayRequest {
  std::string_view method;
  std::string_view target;
  std::string_view path;
  std::string_view query;
  std::string_view authority;
  std::string_view route_prefix;
  std::string_view remote_address;
  std::string_view server_address;
  uint16_t remote_port = 0;
  uint16_t server_port = 0;
  std::string_view client_verify;  // of its certificate: penstock_client_verify()
  std::string_view client_subject;
  std::string_view client_fingerprint;
  bool secure = false;
  unsigned major = 1;
  unsigned minor = 1;
  uint64_t body_length = 0;
  std::vector<std::pair<std::string_view, std::string_view>> fields;
};
[[nodiscard]] GatewayRequest request_of(const penstock_exchange* exchange);

// Where in the application the request leads.
struct ScriptMapping {
  std::string script_name;      // URL path that leads to the script, decoded; may be empty
  std::string path_info;        // what of the URL path is behind it; empty or "/..."
  std::string script_filename;  // file of the script; empty: unknown
  std::string document_root;    // directory; empty: none, and no PATH_TRANSLATED
  // PATH_TRANSLATED is for programs that serve files themselves. Interpreters never get it: some (PHP with
  // cgi.fix_pathinfo=0) would run that file, which the client chose, instead of the script.
  bool translates_path = false;
};

// The path below the route's prefix, and the prefix without a slash at its end. A path that is not below it has "".
struct SplitPath {
  std::string_view prefix;
  std::string_view below;  // empty, or begins with '/'
};
[[nodiscard]] SplitPath split_route(std::string_view path, std::string_view route_prefix);

// All of section 4.1 that applies, and what has become customary beside it: REQUEST_URI, REQUEST_SCHEME, HTTPS,
// SSL_CLIENT_VERIFY, SSL_CLIENT_S_DN, SSL_CLIENT_FINGERPRINT, SERVER_ADDR, REMOTE_PORT, DOCUMENT_ROOT, SCRIPT_FILENAME,
// REDIRECT_STATUS (without which php-cgi refuses to run). CONTENT_LENGTH is missing where the length is not known: the
// body ends with its end of file then.
struct VariableRules {
  bool passes_authorization = false;  // as HTTP_AUTHORIZATION: the application checks passwords itself
};
void set_request_variables(const GatewayRequest& request, const ScriptMapping& mapping, const VariableRules& rules,
                           MetaVariables& to);

}  // namespace penstock
