#include "src/admin/exposure.h"

#include <algorithm>

namespace penstock {
namespace {

bool has(WorkerSyscalls syscalls, WorkerSyscalls bit) {
  return (static_cast<unsigned>(syscalls) & static_cast<unsigned>(bit)) != 0;
}

bool any_covers(const std::vector<std::string>& some, const std::vector<std::string>& others) {
  return std::any_of(others.begin(), others.end(),
                     [&](const std::string& path) { return landlock_covers(some, path); });
}

bool writes_beyond(const WorkerSandbox& sandbox, const std::string& state) {
  return std::any_of(sandbox.write_paths.begin(), sandbox.write_paths.end(),
                     [&](const std::string& path) { return state.empty() || !landlock_covers({state}, path); });
}

}  // namespace

unsigned Exposure::tenths() const {
  unsigned sum = 0;
  for (const Item& item : items) sum += item.tenths;
  return std::min(sum, EXPOSURE_TENTHS_MAX);
}

std::string_view Exposure::level() const {
  const unsigned sum = tenths();
  return sum <= 10 ? "safe" : sum < 40 ? "ok" : sum < 70 ? "medium" : "exposed";
}

Exposure exposure_of(const WorkerSandbox& sandbox, const std::string& state, bool writes_served) {
  Exposure out;
  const auto opens = [&](bool is_open, unsigned tenths, const char* what) {
    if (is_open) out.items.push_back({tenths, what});
  };
  const bool executes_written =
      any_covers(sandbox.write_paths, sandbox.execute_paths) || any_covers(sandbox.execute_paths, sandbox.write_paths);
  opens(writes_served, 25, "could write what is served");
  opens(executes_written, 20, "executes what it can write");
  opens(!sandbox.identity, 20, "has the user of the server");
  opens(sandbox.tier == WorkerTier::LANDLOCK, 15, "sees the machine's processes, network and mounts");
  opens(sandbox.network == WorkerNetwork::CLIENT, 15, "connects to any address");
  opens(landlock_covers(sandbox.read_paths, "/"), 15, "reads all that its user may");
  opens(has(sandbox.syscalls, WorkerSyscalls::PROCESS), 10, "starts programs");
  opens(writes_beyond(sandbox, state), 10, "writes beyond its state");
  opens(sandbox.network == WorkerNetwork::UNIX, 5, "connects to unix sockets");
  opens(sandbox.tier != WorkerTier::NS, 5, "sees the names of all files");
  opens(sandbox.limits.processes == 0, 5, "has no limit of processes");
  opens(sandbox.limits.core != 0, 5, "leaves its memory in core files");
  return out;
}

}  // namespace penstock
