#include "src/cli/commands.h"
#include "src/cli/render.h"

namespace penstock {
namespace {

int ask(const std::string& control, const Json& request, bool json) {
  const CallResult called = call_instance(control, request);
  if (called.exit_code != CLI_OK) return called.exit_code;
  Json result = called.answer.value("result", Json::object());
  if (!json) result.erase("ok");
  cli_print(json ? json_line(result) + "\n" : render_object(result));
  return CLI_OK;
}

}  // namespace

int command_cache_stats(const std::string& control, bool json) { return ask(control, {{"cmd", "cache.stats"}}, json); }

int command_cache_top(const std::string& control, uint64_t count, bool json) {
  return ask(control, {{"cmd", "cache.top"}, {"n", count}}, json);
}

int command_cache_why(const std::string& control, const std::string& url, bool json) {
  return ask(control, {{"cmd", "cache.why"}, {"url", url}}, json);
}

int command_cache_purge(const std::string& control, const std::string& what, bool soft, bool json) {
  return ask(control, {{"cmd", "cache.purge"}, {"what", what}, {"soft", soft}}, json);
}

}  // namespace penstock
