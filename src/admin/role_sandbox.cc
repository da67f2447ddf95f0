#include "src/admin/role_sandbox.h"

#include "src/admin/role_paths.h"

#include <csignal>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace penstock {

SandboxProfile role_sandbox(const RoleStart& start, const Settings& settings) {
  SandboxProfile profile;
  if (start.as_root) profile.identity = SandboxIdentity{start.uid, start.gid};
  profile.parent_death_signal = SIGKILL;
  // For development: PENSTOCK_SANDBOX=name in the supervisor's environment names a forbidden call before the end.
  const char* mode = ::getenv("PENSTOCK_SANDBOX");
  profile.name_violations = mode != nullptr && std::string_view(mode) == "name";
  if (start.role == "server") {
    profile.syscalls = SyscallProfile::SERVER;
    profile.read_only_paths = server_read_paths(settings);
  } else if (start.role == "keyd") {
    profile.syscalls = SyscallProfile::KEYD;
    profile.lock_memory = true;
  } else {
    profile.syscalls = SyscallProfile::LOGD;
    profile.read_write_paths = logd_write_paths(settings);
  }
  return profile;
}

ReadyReport ready_report(const SandboxReport& report, std::string transport) {
  ReadyReport out;
  out.transport = std::move(transport);
  for (const SandboxStep& step : report.steps) out.sandbox.push_back({step.name, step.holds, step.detail});
  return out;
}

Result<RoleStart> receive_start(Channel& channel) {
  auto message = channel.receive_wait(seconds(30));
  if (!message) return std::unexpected(message.error());
  if (message->kind != MessageKind::HELLO) return fail("the first message was not HELLO");
  return decode_start(std::move(*message));
}

Result<Tree> supervisor_tree(const std::string& text, uint64_t generation) {
  ConfigResult<Tree> tree = Tree::from_text(text, "supervisor", generation);
  if (tree) return std::move(*tree);
  return fail("the supervisor's configuration is not valid: " + to_text(tree.error().front()));
}

}  // namespace penstock
