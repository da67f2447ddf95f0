#include "pool/runtimes/upstream/upstream_settings.h"

#include "pool/runtimes/gateway/options.h"
#include "src/base/words.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>

namespace penstock {
namespace {

template <typename T, typename U>
Status store(T& to, Result<U> value) {
  if (!value) return std::unexpected(value.error());
  to = std::move(*value);
  return {};
}

Status take_root(UpstreamSettings& settings, std::string_view value) {
  if (!value.starts_with('/')) return fail("'" + std::string(value) + "' is not an absolute path");
  settings.root = value;
  while (settings.root.ends_with('/')) settings.root.pop_back();
  settings.has_root = true;
  return {};
}

Status take_command(UpstreamSettings& settings, std::string_view value) {
  auto words = split_words(value);
  if (!words) return std::unexpected(words.error());
  if (words->empty()) return fail("there is no command");
  settings.start = std::move(*words);
  const auto program = option_program(settings.start.front());
  return program ? Status{} : std::unexpected(program.error());
}

Status take_protocol(UpstreamSettings& settings, std::string_view value) {
  constexpr std::pair<std::string_view, UpstreamProtocol> PROTOCOLS[] = {{"fastcgi", UpstreamProtocol::FASTCGI},
                                                                         {"scgi", UpstreamProtocol::SCGI},
                                                                         {"uwsgi", UpstreamProtocol::UWSGI},
                                                                         {"http", UpstreamProtocol::HTTP}};
  const auto found = std::ranges::find(PROTOCOLS, value, [](const auto& entry) { return entry.first; });
  if (found == std::end(PROTOCOLS)) return fail("'" + std::string(value) + "' is not fastcgi, scgi, uwsgi or http");
  settings.protocol = found->second;
  return {};
}

bool has_hidden_name(std::string_view path) { return path.find("/.") != std::string_view::npos; }

// The end of the first name in `path` that has the extension, or npos.
size_t end_of_script(std::string_view path, std::string_view extension) {
  const std::string wanted = "." + std::string(extension);
  for (size_t at = path.find(wanted); at != std::string_view::npos; at = path.find(wanted, at + 1)) {
    const size_t end = at + wanted.size();
    if (end == path.size() || path[end] == '/') return end;
  }
  return std::string_view::npos;
}

// "/a?b" becomes "/a/?b", as it came.
std::string with_slash(std::string_view target) {
  const size_t query = std::min(target.find('?'), target.size());
  return std::string(target.substr(0, query)) + "/" + std::string(target.substr(query));
}

ScriptCall call(const UpstreamSettings& settings, std::string_view prefix, std::string_view script,
                std::string_view rest) {
  return {.mapping = {.script_name = std::string(prefix) + std::string(script),
                      .path_info = std::string(rest),
                      .script_filename = settings.root + std::string(script),
                      .document_root = settings.root.empty() ? "/" : settings.root}};
}

// Without a look at the files, which are elsewhere.
std::optional<std::pair<std::string, std::string>> split_by_name(const UpstreamSettings& settings,
                                                                 const std::string& path) {
  const size_t end = end_of_script(path, settings.extension);
  if (end == std::string::npos || has_hidden_name(path.substr(0, end))) return std::nullopt;
  return std::pair(path.substr(0, end), path.substr(end));
}

}  // namespace

Result<UpstreamAddress> unix_upstream_address(const std::string& path) {
  UpstreamAddress address;
  sockaddr_un raw{};
  raw.sun_family = AF_UNIX;
  if (!path.starts_with('/')) return fail("'" + path + "' is not an absolute path");
  if (path.size() >= sizeof raw.sun_path) return fail("'" + path + "' is too long for a unix socket");
  std::memcpy(raw.sun_path, path.data(), path.size());
  std::memcpy(&address.raw, &raw, sizeof raw);
  address.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  address.text = "unix:" + path;
  return address;
}

Result<UpstreamAddress> read_upstream_address(std::string_view text) {
  if (text.starts_with("unix:")) return unix_upstream_address(std::string(text.substr(5)));
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return fail("'" + std::string(text) + "' is neither unix:/PATH nor HOST:PORT");
  const auto port = option_number(text.substr(colon + 1), 1, 65'535);
  if (!port) return std::unexpected(port.error());
  std::string host(text.substr(0, colon));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  UpstreamAddress address;
  address.text = text;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(*port));
    std::memcpy(&address.raw, &v4, sizeof v4);
    address.bytes = sizeof v4;
  } else if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<uint16_t>(*port));
    std::memcpy(&address.raw, &v6, sizeof v6);
    address.bytes = sizeof v6;
  } else {
    return fail("'" + host + "' is not a numeric address; names are not looked up");
  }
  return address;
}

Result<UpstreamSettings> read_upstream_settings(std::span<char* const> words) {
  UpstreamSettings settings;
  const RuntimeOption options[] = {
      {"--protocol", true, [&](std::string_view value) { return take_protocol(settings, value); }},
      {"--connect", true,
       [&](std::string_view value) { return store(settings.connect, read_upstream_address(value)); }},
      {"--start", true, [&](std::string_view value) { return take_command(settings, value); }},
      {"--root", true, [&](std::string_view value) { return take_root(settings, value); }},
      {"--index", true,
       [&](std::string_view value) {
         settings.index = value;
         return value.empty() ? Status(fail("is empty")) : Status{};
       }},
      {"--split-path-info", true,
       [&](std::string_view value) {
         settings.extension = value;
         const bool good = !value.empty() && value.find_first_of("./") == std::string_view::npos;
         return good ? Status{} : Status(fail("'" + std::string(value) + "' is not an extension, as in \"php\""));
       }},
      {"--connections", true,
       [&](std::string_view value) { return store(settings.connections, option_number(value, 1, 500)); }},
      authorization_option(settings.variables.passes_authorization),
      environment_option(settings.environment),
  };
  if (const Status read = read_options(words, options); !read) return std::unexpected(read.error());
  if (settings.connect.has_value() == !settings.start.empty()) return fail("one of --connect and --start is needed");
  if (settings.has_root && settings.protocol != UpstreamProtocol::FASTCGI) return fail("only fastcgi has --root");
  if (!settings.index.empty() && !settings.has_root) return fail("--index needs --root");
  if (settings.has_root) {
    if (settings.index.empty()) settings.index = "index." + settings.extension;
    if (auto tree = ScriptTree::open(settings.root)) settings.tree = std::move(*tree);
  }
  return settings;
}

ScriptCall map_script(const UpstreamSettings& settings, const GatewayRequest& request) {
  const SplitPath split = split_route(request.path, request.route_prefix);
  if (!settings.has_root) {
    return {.mapping = {.script_name = std::string(split.prefix), .path_info = std::string(split.below)}};
  }
  const bool has_front = settings.index.starts_with('/');
  const bool has_index = !settings.index.empty() && !has_front;
  std::string path(split.below);
  if (has_index && path.empty()) return {.refusal = 301, .location = with_slash(request.target)};
  if (has_index && path.ends_with('/')) path += settings.index;
  if (settings.tree) {
    if (const auto script = settings.tree->find(path)) {
      // A file of another kind is never handed to the application, whatever follows it in the path.
      if (script->extension() != settings.extension) return {.refusal = 403};
      return call(settings, split.prefix, script->below_root, script->path_info);
    }
    if (has_index && settings.tree->leads_to_directory(path))
      return {.refusal = 301, .location = with_slash(request.target)};
  } else if (const auto script = split_by_name(settings, path)) {
    return call(settings, split.prefix, script->first, script->second);
  }
  if (has_front) return call(settings, split.prefix, settings.index, split.below);
  return {.refusal = 404};
}

}  // namespace penstock
