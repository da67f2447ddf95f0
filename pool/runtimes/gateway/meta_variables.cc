#include "pool/runtimes/gateway/meta_variables.h"

#include "src/base/bytes.h"

#include <algorithm>

namespace penstock {
namespace {

// Of the connection and not of the request, with a variable of their own, or dangerous.
constexpr std::string_view WITHHELD[] = {
    "connection", "content-length",   "content-type",      "keep-alive", "proxy",  "proxy-authorization",
    "te",         "proxy-connection", "transfer-encoding", "trailer",    "upgrade"};

bool is_plain(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
}

char variable_char(char c) {
  if (c == '-') return '_';
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

uint64_t mark_of(std::string_view name) {
  if (name.empty()) return 1;
  const auto byte = [&name](size_t at) { return size_t{static_cast<unsigned char>(name[at])}; };
  return uint64_t{1} << (name.size() * 3 + byte(name.size() / 2) * 5 + byte(name.size() - 1)) % 64;
}

std::string_view view(penstock_string text) { return {text.data, text.size}; }

// Section 4.1.14: without the port.
std::string_view host_of(std::string_view authority) {
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos || (bracket != std::string_view::npos && colon < bracket)) return authority;
  return authority.substr(0, colon);
}

// Section 4.1.18: fields of one name are one variable, as RFC 9110 section 5.3 joins them.
void set_fields(const GatewayRequest& request, const VariableRules& rules, MetaVariables& to) {
  std::vector<bool> done(request.fields.size());
  for (size_t i = 0; i < request.fields.size(); ++i) {
    const std::string_view name = request.fields[i].first;
    if (done[i] || !is_plain(name)) continue;
    if (iequals_any(name, WITHHELD)) continue;
    if (iequals(name, "authorization") && !rules.passes_authorization) continue;
    std::string variable = "HTTP_";
    std::ranges::transform(name, std::back_inserter(variable), variable_char);
    std::string value(request.fields[i].second);
    for (size_t k = i + 1; k < request.fields.size(); ++k) {
      if (!iequals(request.fields[k].first, name)) continue;
      value.append(iequals(name, "cookie") ? "; " : ", ").append(request.fields[k].second);
      done[k] = true;
    }
    to.set(variable, value);
  }
  if (!request.authority.empty()) to.set("HTTP_HOST", request.authority);
}

void set_content(const GatewayRequest& request, MetaVariables& to) {
  const auto type =
      std::ranges::find_if(request.fields, [](const auto& field) { return iequals(field.first, "content-type"); });
  if (type != request.fields.end()) to.set("CONTENT_TYPE", type->second);
  if (request.body_length == PENSTOCK_UNKNOWN_LENGTH) return;
  const bool announced =
      std::ranges::any_of(request.fields, [](const auto& field) { return iequals(field.first, "content-length"); });
  if (request.body_length > 0 || announced) to.set("CONTENT_LENGTH", std::to_string(request.body_length));
}

}  // namespace

void MetaVariables::set(std::string_view name, std::string_view value) {
  const uint64_t mark = mark_of(name);
  if ((marks_ & mark) != 0 && find(name).data() != nullptr) return;
  if (name.find('\0') != std::string_view::npos || value.find('\0') != std::string_view::npos) return;
  marks_ |= mark;
  places_.push_back({text_.size(), name.size(), value.size()});
  text_.append(name).append("=").append(value).push_back('\0');
}

std::pair<std::string_view, std::string_view> MetaVariables::at(size_t number) const {
  const Place& place = places_[number];
  const std::string_view all(text_);
  return {all.substr(place.at, place.name_bytes), all.substr(place.at + place.name_bytes + 1, place.value_bytes)};
}

std::string_view MetaVariables::find(std::string_view name) const {
  for (size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].name_bytes != name.size()) continue;
    if (const auto [known, value] = at(i); known == name) return value;
  }
  return {};
}

std::vector<char*> MetaVariables::environment() {
  std::vector<char*> all;
  all.reserve(places_.size() + 1);
  for (const Place& place : places_) all.push_back(text_.data() + place.at);
  all.push_back(nullptr);
  return all;
}

GatewayRequest request_of(const penstock_exchange* exchange) {
  GatewayRequest request{.method = view(penstock_method(exchange)),
                         .target = view(penstock_target(exchange)),
                         .path = view(penstock_path(exchange)),
                         .query = view(penstock_query(exchange)),
                         .authority = view(penstock_authority(exchange)),
                         .route_prefix = view(penstock_route_prefix(exchange)),
                         .remote_address = view(penstock_remote_address(exchange)),
                         .server_address = view(penstock_server_address(exchange)),
                         .remote_port = penstock_remote_port(exchange),
                         .server_port = penstock_server_port(exchange),
                         .client_verify = view(penstock_client_verify(exchange)),
                         .client_subject = view(penstock_client_subject(exchange)),
                         .client_fingerprint = view(penstock_client_fingerprint(exchange)),
                         .secure = penstock_is_secure(exchange) != 0,
                         .body_length = penstock_body_length(exchange)};
  penstock_version(exchange, &request.major, &request.minor);
  const size_t count = penstock_header_count(exchange);
  request.fields.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const penstock_header field = penstock_header_at(exchange, i);
    request.fields.emplace_back(view(field.name), view(field.value));
  }
  return request;
}

SplitPath split_route(std::string_view path, std::string_view route_prefix) {
  while (route_prefix.ends_with('/')) route_prefix.remove_suffix(1);
  if (!path.starts_with(route_prefix)) return {.prefix = {}, .below = path};
  const std::string_view below = path.substr(route_prefix.size());
  if (!below.empty() && below.front() != '/') return {.prefix = {}, .below = path};
  return {.prefix = path.substr(0, route_prefix.size()), .below = below};
}

void set_request_variables(const GatewayRequest& request, const ScriptMapping& mapping, const VariableRules& rules,
                           MetaVariables& to) {
  const std::string port = std::to_string(request.server_port != 0 ? request.server_port : request.secure ? 443 : 80);
  to.set("GATEWAY_INTERFACE", "CGI/1.1");
  to.set("SERVER_SOFTWARE", "penstock/" PENSTOCK_VERSION);
  to.set("SERVER_PROTOCOL", "HTTP/" + std::to_string(request.major) + "." + std::to_string(request.minor));
  to.set("SERVER_NAME", request.authority.empty() ? request.server_address : host_of(request.authority));
  to.set("SERVER_PORT", port);
  to.set("SERVER_ADDR", request.server_address);
  to.set("REMOTE_ADDR", request.remote_address);
  to.set("REMOTE_HOST", request.remote_address);  // section 4.1.9: no name was looked up
  if (request.remote_port != 0) to.set("REMOTE_PORT", std::to_string(request.remote_port));
  to.set("REQUEST_METHOD", request.method);
  to.set("REQUEST_URI", request.target);
  to.set("REQUEST_SCHEME", request.secure ? "https" : "http");
  if (request.secure) to.set("HTTPS", "on");
  if (!request.client_verify.empty()) to.set("SSL_CLIENT_VERIFY", request.client_verify);
  if (!request.client_fingerprint.empty()) {
    to.set("SSL_CLIENT_S_DN", request.client_subject);
    to.set("SSL_CLIENT_FINGERPRINT", request.client_fingerprint);
  }
  to.set("QUERY_STRING", request.query);
  to.set("SCRIPT_NAME", mapping.script_name);
  to.set("PATH_INFO", mapping.path_info);
  if (!mapping.document_root.empty()) {
    to.set("DOCUMENT_ROOT", mapping.document_root);
    if (mapping.translates_path && !mapping.path_info.empty()) {
      to.set("PATH_TRANSLATED", mapping.document_root + mapping.path_info);
    }
  }
  if (!mapping.script_filename.empty()) to.set("SCRIPT_FILENAME", mapping.script_filename);
  to.set("REDIRECT_STATUS", "200");
  set_content(request, to);
  set_fields(request, rules, to);
}

}  // namespace penstock
