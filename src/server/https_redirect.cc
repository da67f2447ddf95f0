#include "src/server/https_redirect.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace penstock {
namespace {

constexpr uint16_t HTTPS_PORT = 443;

Reason reason_of(uint32_t status) {
  switch (status) {
    case 301:
      return Reason::HTTPS_MOVED;
    case 302:
      return Reason::HTTPS_FOUND;
    case 307:
      return Reason::HTTPS_TEMPORARY;
    case 308:
      return Reason::HTTPS_PERMANENT;
    default:
      return Reason::NONE;
  }
}

uint32_t port_of(const Settings& settings, const SiteSettings& site) {
  if (site.https_port != 0) return site.https_port;
  uint32_t first = 0;
  for (const ListenAddress& address : settings.server_listen_tls) {
    if (address.port == HTTPS_PORT) return HTTPS_PORT;
    if (first == 0) first = address.port;
  }
  return first;
}

// A name that one can go to.
std::string name_of(const SiteSettings& site) {
  const auto found =
      std::ranges::find_if(site.hosts, [](const std::string& host) { return host.find('*') == std::string::npos; });
  return found != site.hosts.end() ? *found : std::string();
}

HttpsRedirect make_one(const Settings& settings, const SiteSettings& from, const Site& site, ServerHeaderMode server) {
  HttpsRedirect made{.reason = reason_of(from.https_redirect)};
  if (made.reason == Reason::NONE) return made;
  const uint16_t status = reason_status(made.reason);
  const std::string_view phrase = status_phrase(status);
  made.page = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0} {1}</title></head>\n"
      "<body><h1>{0} {1}</h1><p>This site is served over https.</p></body></html>\n",
      status, phrase);
  std::array<char, 1024> room;
  ResponseHeadWriter writer(room, status, 0, server);
  writer.field("Content-Type", "text/html; charset=utf-8");
  writer.field("Content-Length", made.page.size());
  writer.raw("Location: https://");
  const std::string_view head = writer.finish();
  made.head = head.substr(0, head.size() - 2);  // the host follows, not the empty line
  if (const uint32_t port = port_of(settings, from); port != HTTPS_PORT) made.port = ":" + std::to_string(port);
  made.rest = "\r\n" + RouteTable::find_route(site, "/").header_block;
  made.host = name_of(from);
  return made;
}

}  // namespace

std::vector<HttpsRedirect> make_https_redirects(const Settings& settings, const RouteTable& routes,
                                                ServerHeaderMode server) {
  const auto redirects = [](const SiteSettings& site) { return site.https_redirect != 0; };
  if (std::ranges::none_of(settings.sites, redirects)) return {};
  std::vector<HttpsRedirect> made;
  for (size_t i = 0; i < settings.sites.size(); ++i) {
    made.push_back(make_one(settings, settings.sites[i], *routes.sites()[i], server));
  }
  return made;
}

bool is_acme_challenge(std::string_view path) {
  constexpr std::string_view PREFIX = "/.well-known/acme-challenge/";
  if (!path.starts_with(PREFIX) || path.size() == PREFIX.size()) return false;
  return std::ranges::all_of(path.substr(PREFIX.size()), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  });
}

}  // namespace penstock
