// The three places are mapped and never unmapped: the exec does it.
#include "pool/sandbox/exec_once.h"

#include "src/base/assert.h"

#include <bit>
#include <cstring>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr uint64_t PAGE = 4096;
constexpr uint64_t LOWEST = 1ULL << 36;   // above what small programs map
constexpr uint64_t HIGHEST = 1ULL << 46;  // below the stack, on machines with 47 bits of user addresses
constexpr int TRIES_MAX = 64;

// Copies `bytes` to an address that nobody can guess, 16 bytes aligned.
Result<uint64_t> hide(const void* bytes, size_t size) {
  for (int i = 0; i < TRIES_MAX; ++i) {
    uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random) return fail_errno("sandbox: getrandom");
    const uint64_t wanted = LOWEST + random % (HIGHEST - LOWEST) / 16 * 16;
    const uint64_t offset = wanted % PAGE;
    void* const page = ::mmap(std::bit_cast<void*>(wanted - offset), size + offset, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page == MAP_FAILED) continue;
    std::memcpy(static_cast<char*>(page) + offset, bytes, size);
    return wanted;
  }
  return fail_errno("sandbox: no room for the command");
}

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
