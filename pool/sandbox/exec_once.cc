#include "pool/sandbox/exec_once.h"

#include "pool/sandbox/hidden_place.h"
#include "src/base/assert.h"

#include <bit>
#include <unistd.h>

namespace penstock {
namespace {

Result<uint64_t> hide_list(const std::vector<std::string>& texts) {
  std::vector<const char*> list;
  for (const std::string& text : texts) list.push_back(text.c_str());
  list.push_back(nullptr);
  return hide(list.data(), list.size() * sizeof(const char*));
}

}  // namespace

Result<ExecOnce> ExecOnce::prepare(const std::vector<std::string>& command,
                                   const std::vector<std::string>& environment) {
  ASSERT(!command.empty());
  ExecOnce once;
  once.command_ = command;
  once.variables_ = environment;
  const Result<uint64_t> path = hide(command[0].c_str(), command[0].size() + 1);
  const Result<uint64_t> arguments = hide_list(once.command_);
  const Result<uint64_t> variables = hide_list(once.variables_);
  for (const auto* place : {&path, &arguments, &variables}) {
    if (!*place) return std::unexpected(place->error());
  }
  once.path_ = *path;
  once.arguments_ = *arguments;
  once.environment_ = *variables;
  return once;
}

Error ExecOnce::exec() const {
  ::execve(std::bit_cast<const char*>(path_), std::bit_cast<char* const*>(arguments_),
           std::bit_cast<char* const*>(environment_));
  return fail_errno("execute " + command_[0]).error();
}

}  // namespace penstock
