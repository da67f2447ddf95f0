#include "pool/runtimes/gateway/options.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {

Status read_options(std::span<char* const> words, std::span<const RuntimeOption> options) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const auto option = std::ranges::find(options, name, &RuntimeOption::name);
    if (option == options.end()) return fail("unknown option " + std::string(word));
    std::string_view value;
    if (equals != std::string_view::npos) {
      if (!option->has_value) return fail(std::string(name) + " takes no value");
      value = word.substr(equals + 1);
    } else if (option->has_value) {
      if (i + 1 == words.size()) return fail(std::string(name) + " needs a value");
      value = words[++i];
    }
    if (const Status taken = option->take(value); !taken) return fail(std::string(name) + ": " + taken.error().message);
  }
  return {};
}

Result<uint32_t> option_number(std::string_view value, uint32_t min, uint32_t max) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (value.empty() || error != std::errc() || end != value.data() + value.size() || number < min || number > max) {
    return fail("'" + std::string(value) + "' is not a number from " + std::to_string(min) + " to " +
                std::to_string(max));
  }
  return number;
}

Result<std::pair<std::string, std::string>> option_variable(std::string_view name) {
  const bool good = !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  });
  // What follows a '=' may be secret.
  if (!good) return fail("'" + std::string(name.substr(0, name.find('='))) + "…' is not the name of a variable");
  std::string text(name);
  const char* const value = std::getenv(text.c_str());
  if (value == nullptr) return fail("'" + text + "' is not in the environment");
  return std::pair(std::move(text), std::string(value));
}

RuntimeOption environment_option(std::vector<std::pair<std::string, std::string>>& to) {
  return {"--env", true, [&to](std::string_view value) {
            auto variable = option_variable(value);
            if (!variable) return Status(std::unexpected(variable.error()));
            to.push_back(std::move(*variable));
            return Status{};
          }};
}

RuntimeOption authorization_option(bool& to) {
  return {"--pass-authorization", false, [&to](std::string_view) {
            to = true;
            return Status{};
          }};
}

Result<std::string> option_directory(std::string_view value) {
  std::string path(value);
  struct stat info {};
  if (!path.starts_with('/')) return fail("'" + path + "' is not an absolute path");
  if (::stat(path.c_str(), &info) != 0) return fail_errno("'" + path + "'");
  if (!S_ISDIR(info.st_mode)) return fail("'" + path + "' is not a directory");
  while (path.ends_with('/')) path.pop_back();
  return path;
}

Result<std::string> option_program(std::string_view value) {
  std::string path(value);
  struct stat info {};
  if (!path.starts_with('/')) return fail("'" + path + "' is not an absolute path");
  if (::stat(path.c_str(), &info) != 0) return fail_errno("'" + path + "'");
  if (!S_ISREG(info.st_mode)) return fail("'" + path + "' is not a file");
  if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) return fail_errno("execute '" + path + "'");
  return path;
}

}  // namespace penstock
