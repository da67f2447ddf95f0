#include "src/admin/worker_launch.h"

#include "src/admin/json.h"

namespace penstock {
namespace {

Json bytes(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xc0 | byte >> 6);
      out += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return out;
}

std::string from_bytes(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0xc0 && i + 1 < text.size()) {
      out += static_cast<char>((byte & 0x03) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3f));
    } else {
      out += text[i];
    }
  }
  return out;
}

Json list(const std::vector<std::string>& texts) {
  Json out = Json::array();
  for (const std::string& text : texts) out.push_back(bytes(text));
  return out;
}

std::vector<std::string> read_list(const Json& object, const char* key) {
  std::vector<std::string> out;
  for (const Json& item : json_array(object, key)) {
    if (item.is_string()) out.push_back(from_bytes(item.get_ref<const std::string&>()));
  }
  return out;
}

std::string read_text(const Json& object, const char* key) { return from_bytes(json_text(object, key)); }

template <class T>
std::vector<T> read_numbers(const Json& object, const char* key) {
  std::vector<T> out;
  for (const Json& item : json_array(object, key)) {
    if (item.is_number_unsigned()) out.push_back(item.get<T>());
  }
  return out;
}

Json encode_sandbox(const WorkerSandbox& sandbox) {
  Json out = {{"groups", sandbox.groups},
              {"syscalls", static_cast<unsigned>(sandbox.syscalls)},
              {"network", static_cast<unsigned>(sandbox.network)},
              {"read", list(sandbox.read_paths)},
              {"write", list(sandbox.write_paths)},
              {"execute", list(sandbox.execute_paths)},
              {"seen", list(sandbox.seen_paths)},
              {"tier", static_cast<unsigned>(sandbox.tier)},
              {"private_tmp", sandbox.private_tmp},
              {"files", sandbox.limits.files},
              {"processes", sandbox.limits.processes},
              {"address_space", sandbox.limits.address_space},
              {"core", sandbox.limits.core},
              {"cpus", sandbox.cpus},
              {"cgroup", bytes(sandbox.cgroup)},
              {"listener", sandbox.listener}};
  if (sandbox.identity) {
    out["uid"] = sandbox.identity->uid;
    out["gid"] = sandbox.identity->gid;
  }
  return out;
}

Result<WorkerSandbox> decode_sandbox(const Json& from) {
  WorkerSandbox to;
  const uint64_t syscalls = json_number(from, "syscalls", UINT64_MAX);
  const uint64_t network = json_number(from, "network", UINT64_MAX);
  const uint64_t tier = json_number(from, "tier", UINT64_MAX);
  if (syscalls > static_cast<uint64_t>(WorkerSyscalls::FULL) ||
      network > static_cast<uint64_t>(WorkerNetwork::CLIENT) || tier > static_cast<uint64_t>(WorkerTier::NS)) {
    return fail("the launch message names no profile of system calls, network or tier");
  }
  to.syscalls = static_cast<WorkerSyscalls>(syscalls);
  to.network = static_cast<WorkerNetwork>(network);
  if (from.contains("uid") || from.contains("gid")) {
    to.identity = SandboxIdentity{static_cast<uid_t>(json_number(from, "uid")),
                                  static_cast<gid_t>(json_number(from, "gid"))};  // 0 is refused by the sandbox
  }
  to.groups = read_numbers<gid_t>(from, "groups");
  to.read_paths = read_list(from, "read");
  to.write_paths = read_list(from, "write");
  to.execute_paths = read_list(from, "execute");
  to.seen_paths = read_list(from, "seen");
  to.tier = static_cast<WorkerTier>(tier);
  to.private_tmp = json_flag(from, "private_tmp");
  to.limits.files = json_number(from, "files");
  to.limits.processes = json_number(from, "processes");
  to.limits.address_space = json_number(from, "address_space");
  to.limits.core = json_number(from, "core");
  to.cpus = read_numbers<uint32_t>(from, "cpus");
  to.cgroup = read_text(from, "cgroup");
  to.listener = json_flag(from, "listener");
  return to;
}

}  // namespace

std::string encode_launch(const WorkerLaunch& launch) {
  return json_line({{"pool", bytes(launch.pool)},
                    {"worker", launch.worker},
                    {"command", list(launch.command)},
                    {"environment", list(launch.environment)},
                    {"directory", bytes(launch.directory)},
                    {"sandbox", encode_sandbox(launch.sandbox)},
                    {"server_bells", launch.server_bells.size()}});
}

Result<WorkerLaunch> decode_launch(std::string_view text) {
  const std::optional<Json> json = parse_json(text);
  if (!json || !json->is_object() || !json->contains("sandbox")) return fail("the launch message is malformed");
  auto sandbox = decode_sandbox((*json)["sandbox"]);
  if (!sandbox) return std::unexpected(sandbox.error());
  WorkerLaunch launch;
  launch.sandbox = std::move(*sandbox);
  launch.pool = read_text(*json, "pool");
  launch.worker = json_number(*json, "worker");
  launch.command = read_list(*json, "command");
  launch.environment = read_list(*json, "environment");
  launch.directory = read_text(*json, "directory");
  if (launch.command.empty()) return fail("the launch message names no command");
  const uint64_t bells = json_number(*json, "server_bells");
  if (bells == 0 || bells > 1024) return fail("the launch message names no bells");
  launch.server_half = WORKER_FIRST_FD;
  launch.worker_half = WORKER_FIRST_FD + 1;
  launch.helper_bed = WORKER_FIRST_FD + 2;
  launch.worker_bed = WORKER_FIRST_FD + 3;
  for (int i = 0; i < static_cast<int>(bells); ++i) launch.server_bells.push_back(WORKER_FIRST_FD + 4 + i);
  return launch;
}

std::string encode_sandbox_report(const SandboxReport& report) {
  Json steps = Json::array();
  for (const SandboxStep& step : report.steps) {
    steps.push_back({{"name", step.name}, {"holds", step.holds}, {"detail", step.detail}});
  }
  return json_line({{"steps", std::move(steps)}}) + "\n";
}

std::string encode_sandbox_failure(const Error& error) {
  return json_line({{"error", error.message}, {"code", error.code}}) + "\n";
}

Result<SandboxReport> decode_sandbox_report(std::string_view text) {
  if (!text.ends_with('\n')) return fail("the process ended before it had entered its sandbox");
  text.remove_suffix(1);
  const std::optional<Json> json = parse_json(text.substr(text.rfind('\n') + 1));
  if (!json) return fail("the worker's report is malformed");
  if (json->contains("error")) {
    const Json code = json->value("code", Json());
    return fail(json_text(*json, "error"), code.is_number_integer() ? code.get<int>() : 0);
  }
  SandboxReport report;
  for (const Json& step : json_array(*json, "steps")) {
    report.steps.push_back({json_text(step, "name"), json_flag(step, "holds"), json_text(step, "detail")});
  }
  return report;
}

}  // namespace penstock
