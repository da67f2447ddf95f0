#include "pool/runtimes/upstream/request_message.h"

#include "src/base/bytes.h"

#include <algorithm>

namespace penstock {
namespace {

// Of the connection (RFC 9110 section 7.6.1) or written anew.
constexpr std::string_view NOT_PASSED[] = {"connection",
                                           "content-length",
                                           "cookie",
                                           "expect",
                                           "forwarded",
                                           "host",
                                           "keep-alive",
                                           "proxy",
                                           "proxy-authorization",
                                           "proxy-connection",
                                           "te",
                                           "trailer",
                                           "transfer-encoding",
                                           "upgrade",
                                           "x-real-ip"};
constexpr std::string_view OURS[] = {"x-forwarded-", "x-ssl-client-"};

bool is_harmless(std::string_view value) {
  return std::ranges::none_of(value, [](char c) {
    const auto code = static_cast<unsigned char>(c);
    return (code < 0x20 && c != '\t') || code == 0x7f;
  });
}

bool may_pass(std::string_view name) {
  const bool plain = std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
  if (!plain || name.empty() || iequals_any(name, NOT_PASSED)) return false;
  return std::ranges::none_of(OURS,
                              [name](std::string_view start) { return iequals(name.substr(0, start.size()), start); });
}

// Whether a Connection field of the request says that it belongs to the connection.
bool is_named(const GatewayRequest& request, std::string_view name) {
  for (const auto& [field, value] : request.fields) {
    if (!iequals(field, "connection")) continue;
    for (std::string_view list = value; !list.empty();) {
      const size_t comma = std::min(list.find(','), list.size());
      if (iequals(trim_ows(list.substr(0, comma)), name)) return true;
      list.remove_prefix(std::min(comma + 1, list.size()));
    }
  }
  return false;
}

// Collects the head, and whether all of it may be said.
class HttpWriter {
 public:
  explicit HttpWriter(std::string& to) : to_(to) {}
  void put(std::string_view text) {
    good_ = good_ && is_harmless(text);
    to_.append(text);
  }
  void field(std::string_view name, std::string_view value) {
    put(name);
    to_.append(": ");
    put(value);
    to_.append("\r\n");
  }
  [[nodiscard]] bool good() const { return good_; }

 private:
  std::string& to_;
  bool good_ = true;
};

void put_fields(HttpWriter& out, const GatewayRequest& request) {
  std::string cookies;  // RFC 9113 section 8.2.3: over HTTP/1.1 it is one field
  for (const auto& [name, value] : request.fields) {
    if (iequals(name, "cookie")) cookies.append(cookies.empty() ? "" : "; ").append(value);
    if (may_pass(name) && !is_named(request, name)) out.field(name, value);
  }
  if (!cookies.empty()) out.field("Cookie", cookies);
}

void put_body_length(HttpWriter& out, const GatewayRequest& request) {
  if (request.body_length == PENSTOCK_UNKNOWN_LENGTH) return out.field("Transfer-Encoding", "chunked");
  const bool announced =
      std::ranges::any_of(request.fields, [](const auto& field) { return iequals(field.first, "content-length"); });
  if (request.body_length > 0 || announced) out.field("Content-Length", std::to_string(request.body_length));
}

void put_uwsgi_size(std::string& to, size_t size) {
  to += static_cast<char>(size & 0xff);
  to += static_cast<char>(size >> 8);
}

}  // namespace

void put_scgi_request(std::string& to, const MetaVariables& variables) {
  const std::string_view length = variables.find("CONTENT_LENGTH");
  std::string text("CONTENT_LENGTH");  // it comes first, and always
  text += '\0';
  text.append(length.empty() ? "0" : length);
  text.append("\0SCGI\0001\0", 8);
  for (size_t i = 0; i < variables.count(); ++i) {
    const auto [name, value] = variables.at(i);
    if (name == "CONTENT_LENGTH" || name == "SCGI") continue;
    text.append(name) += '\0';
    text.append(value) += '\0';
  }
  to.append(std::to_string(text.size())).append(":").append(text).append(",");
}

bool put_uwsgi_request(std::string& to, const MetaVariables& variables) {
  std::string text;
  for (size_t i = 0; i < variables.count(); ++i) {
    const auto [name, value] = variables.at(i);
    if (name.size() > UWSGI_BYTES_MAX || value.size() > UWSGI_BYTES_MAX) return false;
    put_uwsgi_size(text, name.size());
    text.append(name);
    put_uwsgi_size(text, value.size());
    text.append(value);
  }
  if (text.size() > UWSGI_BYTES_MAX) return false;
  to += '\0';  // modifier 1: a WSGI or PSGI request
  put_uwsgi_size(to, text.size());
  to += '\0';
  to.append(text);
  return true;
}

bool put_http_request(std::string& to, const GatewayRequest& request) {
  const size_t start = to.size();
  HttpWriter out(to);
  out.put(request.method);
  to += ' ';
  out.put(request.target);
  to.append(" HTTP/1.1\r\n");
  const std::string_view host = request.authority.empty() ? request.server_address : request.authority;
  out.field("Host", host);
  put_fields(out, request);
  put_body_length(out, request);
  out.field("X-Forwarded-For", request.remote_address);
  out.field("X-Forwarded-Proto", request.secure ? "https" : "http");
  out.field("X-Forwarded-Host", host);
  if (!request.client_verify.empty()) out.field("X-SSL-Client-Verify", request.client_verify);
  if (!request.client_fingerprint.empty()) {
    out.field("X-SSL-Client-S-DN", request.client_subject);
    out.field("X-SSL-Client-Fingerprint", request.client_fingerprint);
  }
  to.append("\r\n");
  const bool target_whole = request.target.find(' ') == std::string_view::npos;
  if (out.good() && target_whole) return true;
  to.resize(start);
  return false;
}

}  // namespace penstock
