// The command line of a runtime program: `--name VALUE`, `--name=VALUE` and `--name`, each handed to a function that
// says what is wrong with it.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

struct RuntimeOption {
  std::string_view name;  // "--root"
  bool has_value = true;
  std::function<Status(std::string_view value)> take;
};

// Error: a sentence that names the option. Words that are no option are an error.
[[nodiscard]] Status read_options(std::span<char* const> words, std::span<const RuntimeOption> options);

// Decimal, within the bounds.
[[nodiscard]] Result<uint32_t> option_number(std::string_view value, uint32_t min, uint32_t max);
// NAME of letters, digits and underscores: with its value in this process's environment, which only its user can read;
// command lines are for everyone.
[[nodiscard]] Result<std::pair<std::string, std::string>> option_variable(std::string_view name);
// --env NAME: such a variable, put behind the others in `to`.
[[nodiscard]] RuntimeOption environment_option(std::vector<std::pair<std::string, std::string>>& to);
// --pass-authorization: sets `to`.
[[nodiscard]] RuntimeOption authorization_option(bool& to);
// An absolute path to a directory that is there, without a slash at its end ("/": empty).
[[nodiscard]] Result<std::string> option_directory(std::string_view value);
// An absolute path to a file that this process may execute.
[[nodiscard]] Result<std::string> option_program(std::string_view value);

}  // namespace penstock
