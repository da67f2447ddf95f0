#include "src/cli/commands.h"
#include "src/config/parse.h"
#include "src/config/print.h"
#include "src/config/risk.h"
#include "src/config/tree.h"

#include <array>
#include <cerrno>
#include <unistd.h>

namespace penstock {
namespace {

std::string without_eol(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// Of each key also what -v says as comments; "source" is there already, empty where the value is the default.
Json described(const Json& entries) {
  Json out = Json::array();
  for (Json entry : entries) {
    if (const auto path = resolve_key(json_text(entry, "key"))) {
      const SettingInfo& setting = *path->setting;
      entry["help"] = setting.help;
      entry["type"] = setting.type();
      entry["expects"] = setting.expects(setting.range);
      entry["unit"] = setting.unit;
      entry["default"] = setting.is_map ? Json() : Json(canonical_default(setting));
      entry["range"] = print_range(setting);
      entry["live"] = setting.apply.live;
      if (!setting.apply.live) entry["boot_reason"] = setting.apply.boot_reason;
      const KeyRisk& risk = risk_of(setting);
      entry["since"] = risk.since;
      entry["risk"] = static_cast<int>(risk.risk);
      if (!risk.why.empty()) entry["risk_reason"] = risk.why;
    }
    out.push_back(std::move(entry));
  }
  return out;
}

void print_entries(Json answer, bool verbose) {
  if (verbose) answer["entries"] = described(json_array(answer, "entries"));
  cli_print(json_line(answer) + "\n");
}

// The configuration of a file, or the built-in one.
ConfigResult<Tree> offline_tree(const SysctlArguments& arguments) {
  if (arguments.offline_file.empty()) return Tree();
  const auto text = read_config_file(arguments.offline_file);
  if (!text) return std::unexpected(ConfigErrors{{"", 0, "", text.error().message}});
  return Tree::from_text(*text, arguments.offline_file);
}

int show_offline(const SysctlArguments& arguments) {
  const auto tree = offline_tree(arguments);
  if (!tree) return cli_fail(without_eol(to_text(tree.error())), CLI_USAGE);
  const PrintDetail detail = arguments.verbose ? PrintDetail::DESCRIBED : PrintDetail::VALUES;
  std::string text;
  Json entries = Json::array();
  for (size_t i = 0; i == 0 || i < arguments.words.size(); ++i) {
    const std::string key = arguments.words.empty() ? "" : arguments.words[i];
    const Tree::Entries found = tree->entries(key);
    if (found.empty()) return cli_fail(tree->get(key).error().message, CLI_USAGE);
    text += print_tree(*tree, detail, key);
    for (const auto& [name, value] : found) {
      entries.push_back({{"key", name}, {"value", value}});
      if (arguments.verbose) entries.back()["source"] = tree->origin(name);
    }
  }
  if (arguments.json) {
    print_entries({{"entries", std::move(entries)}}, arguments.verbose);
  } else {
    cli_print(text);
  }
  return CLI_OK;
}

int print_change(const SysctlArguments& arguments, const CallResult& called) {
  if (called.exit_code != CLI_OK) return called.exit_code;
  if (arguments.json) {
    cli_print(json_line(called.answer) + "\n");
    return CLI_OK;
  }
  std::string text;
  for (const Json& change : json_array(called.answer, "changes")) {
    text += json_text(change, "key") + " = " + json_text(change, "after", "") + "\n";
  }
  cli_print(text);
  for (const Json& note : json_array(called.answer, "notes")) {
    if (note.is_string()) cli_fail("note: " + without_eol(note.get<std::string>()));
  }
  return CLI_OK;
}

void add_condition(const SysctlArguments& arguments, Json& request) {
  if (arguments.if_generation != 0) request["if_generation"] = arguments.if_generation;
}

int change_by_words(const SysctlArguments& arguments, const std::string& control) {
  if (arguments.words.empty()) return cli_fail("sysctl -w: name at least one KEY=VALUE", CLI_USAGE);
  for (const std::string& word : arguments.words) {
    if (word.find('=') == std::string::npos) return cli_fail("sysctl -w: expected KEY=VALUE, got " + word, CLI_USAGE);
  }
  Json request = {{"cmd", "sysctl.set"}, {"assignments", arguments.words}};
  add_condition(arguments, request);
  return print_change(arguments, call_instance(control, request));
}

Result<std::string> read_stdin() {
  std::string text;
  std::array<char, 64 * 1024> chunk;
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read stdin");
    if (n == 0) return text;
    text.append(chunk.data(), static_cast<size_t>(n));
    if (text.size() > CONFIG_TEXT_BYTES_MAX) return fail("stdin: too long for a configuration");
  }
}

int change_by_file(const SysctlArguments& arguments, const std::string& control) {
  const auto text = arguments.load_file == "-" ? read_stdin() : read_config_file(arguments.load_file);
  if (!text) return cli_fail(text.error().message, CLI_USAGE);
  Json request = {{"cmd", "sysctl.load"}, {"text", *text}, {"source", arguments.load_file}};
  add_condition(arguments, request);
  return print_change(arguments, call_instance(control, request));
}

int show_all(const SysctlArguments& arguments, const std::string& control) {
  for (size_t i = 0; i == 0 || i < arguments.words.size(); ++i) {
    Json request = {{"cmd", "sysctl.list"}, {"verbose", arguments.verbose}};
    if (!arguments.words.empty()) request["prefix"] = arguments.words[i];
    const CallResult called = call_instance(control, request);
    if (called.exit_code != CLI_OK) return called.exit_code;
    cli_print(json_text(called.answer, "text"));
  }
  return CLI_OK;
}

int show_keys(const SysctlArguments& arguments, const std::string& control) {
  for (const std::string& word : arguments.words) {
    if (word.find('=') == std::string::npos) continue;
    return cli_fail("sysctl: expected KEY, got " + word + "; -w changes one", CLI_USAGE);
  }
  const Json keys = arguments.words.empty() ? Json::array({""}) : Json(arguments.words);
  const CallResult called =
      call_instance(control, {{"cmd", "sysctl.get"}, {"keys", keys}, {"verbose", arguments.verbose}});
  if (called.exit_code != CLI_OK) return called.exit_code;
  if (arguments.json) {
    print_entries(called.answer, arguments.verbose);
    return CLI_OK;
  }
  std::string text;
  for (const Json& entry : json_array(called.answer, "entries")) {
    text += json_text(entry, "key") + " = " + json_text(entry, "value") + "\n";
  }
  cli_print(text);
  return CLI_OK;
}

}  // namespace

int command_sysctl(const SysctlArguments& arguments, const std::string& control) {
  const int ways = (arguments.write ? 1 : 0) + (arguments.load_file.empty() ? 0 : 1) + (arguments.all ? 1 : 0);
  const bool offline = arguments.defaults || !arguments.offline_file.empty();
  if (ways > 1) return cli_fail("sysctl: -a, -w and -p exclude each other", CLI_USAGE);
  if (offline && (arguments.write || !arguments.load_file.empty())) {
    return cli_fail("sysctl: -w and -p change a running instance, not a file", CLI_USAGE);
  }
  if (offline) return show_offline(arguments);
  if (arguments.write) return change_by_words(arguments, control);
  if (!arguments.load_file.empty()) return change_by_file(arguments, control);
  if (arguments.words.empty() && !arguments.all && !arguments.verbose) {
    return cli_fail("sysctl: name a KEY, or -a for all", CLI_USAGE);
  }
  if ((arguments.all || arguments.verbose) && !arguments.json) return show_all(arguments, control);
  return show_keys(arguments, control);
}

}  // namespace penstock
