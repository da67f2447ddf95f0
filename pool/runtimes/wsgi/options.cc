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

Status take_number(const std::string& name, std::string_view value, uint32_t max, uint32_t& number) {
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stop != end || number < 1 || number > max) {
    return fail(name + " wants a number from 1 to " + std::to_string(max) + ", not '" + std::string(value) + "'");
  }
  return {};
}

}  // namespace

Result<WsgiOptions> read_wsgi_options(const std::vector<std::string>& words) {
  WsgiOptions options;
  for (size_t i = 0; i < words.size(); i += 2) {
    const std::string& name = words[i];
    if (name != "--app" && name != "--directory" && name != "--threads" && name != "--hanging-after") {
      return fail("unknown option '" + name + "': --app, --directory, --threads or --hanging-after");
    }
    if (i + 1 == words.size()) return fail(name + " wants a value");
    const std::string& value = words[i + 1];
    Status taken;
    if (name == "--app") taken = take_app(value, options);
    if (name == "--threads") taken = take_number(name, value, WSGI_THREADS_MAX, options.threads);
    if (name == "--hanging-after") {
      uint32_t number = 0;
      taken = take_number(name, value, WSGI_HANGING_MS_MAX, number);
      options.hanging_after = milliseconds(number);
    }
    if (name == "--directory") options.directory = value;
    if (!taken) return std::unexpected(taken.error());
  }
  if (options.module.empty()) return fail("--app MODULE:CALLABLE is missing");
  return options;
}

}  // namespace penstock
