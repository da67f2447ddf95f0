// `penstock secure audit`: what each pool may do, and which served paths a serving process could write.
#include "src/admin/secure_audit.h"
#include "src/cli/commands.h"
#include "src/cli/render.h"
#include "src/config/parse.h"
#include "src/config/tree.h"

#include <fmt/format.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr const char* EXECUTABLE = "/proc/self/exe";

std::string words_of(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& word : list) out += (out.empty() ? "" : " ") + cli_clean(word);
  return out.empty() ? "nothing" : out;
}

std::string_view syscalls_name(WorkerSyscalls syscalls) {
  return to_text(static_cast<SyscallsSetting>(syscalls));  // the words are the same
}
std::string_view tier_name(WorkerTier tier) { return to_text(static_cast<TierSetting>(tier)); }
std::string_view network_name(WorkerNetwork network) { return to_text(static_cast<NetworkSetting>(network)); }

std::string_view sees(WorkerTier tier) {
  switch (tier) {
    case WorkerTier::LANDLOCK:
      return "the names of all files, and all processes, mounts and IPC objects: no namespaces";
    case WorkerTier::UNSHARED:
      return "the names of all files, and its own processes, mounts and IPC objects";
    case WorkerTier::NS:
      return "what it reads, writes and executes, and its own processes, mounts and IPC objects";
  }
  return "";
}

// In the manner of systemd-analyze security.
std::string score(unsigned tenths) { return fmt::format("{}.{}", tenths / 10, tenths % 10); }

Json exposure_json(const Exposure& exposure) {
  Json items = Json::array();
  for (const Exposure::Item& item : exposure.items) {
    items.push_back({{"what", item.what}, {"adds", static_cast<double>(item.tenths) / 10}});
  }
  return {
      {"score", static_cast<double>(exposure.tenths()) / 10}, {"level", exposure.level()}, {"items", std::move(items)}};
}

std::string exposure_text(const Exposure& exposure) {
  std::string out = fmt::format("  exposure  {} of 10, {}\n", score(exposure.tenths()), exposure.level());
  for (const Exposure::Item& item : exposure.items) {
    out += fmt::format("            {} {}\n", score(item.tenths), item.what);
  }
  return out;
}

Json pool_json(const AuditedPool& pool) {
  if (!pool.error.empty()) return {{"pool", pool.name}, {"error", pool.error}};
  const WorkerSandbox& sandbox = pool.profile.sandbox;
  return {{"pool", pool.name},
          {"identity", pool.profile.identity},
          {"uid", sandbox.identity ? sandbox.identity->uid : ::geteuid()},
          {"reads", sandbox.read_paths},
          {"writes", sandbox.write_paths},
          {"executes", sandbox.execute_paths},
          {"network", network_name(sandbox.network)},
          {"syscalls", syscalls_name(sandbox.syscalls)},
          {"syscall_count", pool.syscalls},
          {"tier", tier_name(sandbox.tier)},
          {"exposure", exposure_json(pool.exposure)}};
}

std::string pool_text(const AuditedPool& pool) {
  if (!pool.error.empty()) return fmt::format("pool {}\n  cannot start: {}\n", pool.name, cli_clean(pool.error));
  const WorkerSandbox& sandbox = pool.profile.sandbox;
  return fmt::format(
             "pool {}\n  runs as   {}\n  reads     {}, and the system's libraries\n  writes    {}\n  executes  {}\n"
             "  network   {}\n  syscalls  {} ({})\n  tier      {}: sees {}\n",
             pool.name, cli_clean(pool.profile.identity), words_of(sandbox.read_paths), words_of(sandbox.write_paths),
             words_of(sandbox.execute_paths), network_name(sandbox.network), syscalls_name(sandbox.syscalls),
             pool.syscalls, tier_name(sandbox.tier), sees(sandbox.tier)) +
         exposure_text(pool.exposure);
}

std::string audit_text(const SecureAudit& audit) {
  std::string out = fmt::format("server\n  runs as   {}\n", cli_clean(audit.server));
  for (const AuditedPool& pool : audit.pools) out += "\n" + pool_text(pool);
  out += fmt::format("\n{} served paths looked at; {} could be written by who serves them\n", audit.looked_at,
                     audit.writable_count);
  for (const WritablePath& one : audit.writable) {
    out += fmt::format("  {}: {}{}\n", cli_clean(one.path), cli_clean(one.who),
                       one.sandboxed ? " (Landlock alone refuses it)" : "");
  }
  if (audit.writable_count > audit.writable.size()) {
    out += fmt::format("  and {} more\n", audit.writable_count - audit.writable.size());
  }
  for (const std::string& path : audit.unread) out += fmt::format("not looked at: {}\n", cli_clean(path));
  return out;
}

Json audit_json(const SecureAudit& audit) {
  Json pools = Json::array();
  for (const AuditedPool& pool : audit.pools) pools.push_back(pool_json(pool));
  Json writable = Json::array();
  for (const WritablePath& one : audit.writable) {
    writable.push_back({{"path", one.path}, {"who", one.who}, {"sandboxed", one.sandboxed}});
  }
  return {{"server", audit.server},          {"pools", std::move(pools)},
          {"writable", std::move(writable)}, {"writable_count", audit.writable_count},
          {"looked_at", audit.looked_at},    {"unread", audit.unread}};
}

}  // namespace

int command_secure_audit(const std::string& file, bool json) {
  const auto text = read_config_file(file);
  if (!text) return cli_fail(text.error().message, CLI_USAGE);
  const auto tree = Tree::from_text(*text, file);
  if (!tree) return cli_fail(to_text(tree.error()), CLI_USAGE);
  const auto audit = secure_audit(tree->settings(), ::geteuid() == 0, EXECUTABLE);
  if (!audit) return cli_fail(audit.error().message);
  cli_print(json ? json_line(audit_json(*audit)) + "\n" : audit_text(*audit));
  return audit->writable_count == 0 && audit->unread.empty() ? CLI_OK : CLI_FAILED;
}

}  // namespace penstock
