#include "pool/runtimes/wsgi/options.h"

#include <charconv>
#include <string_view>

namespace penstock {
namespace {

Status take_app(std::string_view value, WsgiOptions& options) {
  const size_t colon = value.find(':');
  options.module = value.substr(0, colon);
  if (colon != std::string_view::npos) options.callable = value.substr(colon + 1);
  if (options.module.empty() || options.callable.empty()) {
    return fail("--app wants MODULE:CALLABLE, not '" + std::string(value) + "'");
  }
  return {};
}

Status take_threads(std::string_view value, WsgiOptions& options) {
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, options.threads);
  if (error != std::errc() || stop != end || options.threads < 1 || options.threads > WSGI_THREADS_MAX) {
    return fail("--threads wants a number from 1 to " + std::to_string(WSGI_THREADS_MAX) + ", not '" +
                std::string(value) + "'");
  }
  return {};
}

Status take_environment(std::string_view value, WsgiOptions& options) {
  const size_t sign = value.find('=');
  if (sign == std::string_view::npos || sign == 0) {
    return fail("--env wants NAME=VALUE, not '" + std::string(value) + "'");
  }
  options.environment.emplace_back(value.substr(0, sign), value.substr(sign + 1));
  return {};
}

}  // namespace

Result<WsgiOptions> parse_wsgi_options(const std::vector<std::string>& words) {
  WsgiOptions options;
  for (size_t i = 0; i < words.size(); i += 2) {
    const std::string& name = words[i];
    if (name != "--app" && name != "--directory" && name != "--threads" && name != "--env") {
      return fail("unknown option '" + name + "': --app, --directory, --threads or --env");
    }
    if (i + 1 == words.size()) return fail(name + " wants a value");
    const std::string& value = words[i + 1];
    Status taken;
    if (name == "--app") taken = take_app(value, options);
    if (name == "--threads") taken = take_threads(value, options);
    if (name == "--env") taken = take_environment(value, options);
    if (name == "--directory") options.directory = value;
    if (!taken) return std::unexpected(taken.error());
  }
  if (options.module.empty()) return fail("--app MODULE:CALLABLE is missing");
  return options;
}

}  // namespace penstock
