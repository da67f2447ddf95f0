// cgroups(7); Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{memory,cpuacct}.rst of the kernel.
#include "pool/supervisor/cgroup.h"

#include "pool/supervisor/process_memory.h"
#include "pool/supervisor/read_text.h"
#include "src/base/bytes.h"
#include "src/base/unique_fd.h"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr uint64_t PERIOD_US = 100'000;   // of a CPU quota
constexpr uint64_t QUOTA_US_MIN = 1'000;  // the kernel's

Status write_text(const std::string& path, const std::string& text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return fail_errno(path);
  ssize_t n = 0;
  do {
    n = ::write(fd.get(), text.data(), text.size());
  } while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(text.size())) return fail_errno("write \"" + text + "\" to " + path);
  return {};
}

Status make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return {};
  return fail_errno("mkdir " + path);
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(at), text.size());
    if (end > 0) out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

bool has_word(std::string_view text, std::string_view word, char at) {
  for (const std::string& one : split(text, at)) {
    if (one == word) return true;
  }
  return false;
}

// "name 12" in a file of such lines.
uint64_t number_in(const std::string& path, std::string_view name) {
  const auto text = read_text(path);
  if (!text) return 0;
  for (const std::string& line : split(*text, '\n')) {
    const std::vector<std::string> words = split(line, ' ');
    if (words.size() == 2 && words[0] == name) return parse_decimal(words[1]).value_or(0);
  }
  return 0;
}

// Beneath the mount point our own group, or the mount point where that is not visible (a container).
std::string place(const std::string& mount, const std::string& own) {
  return own != "/" && exists(mount + own) ? mount + own : mount;
}

std::vector<std::string> subdirectories(const std::string& path) {
  std::vector<std::string> out;
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return out;
  while (const dirent* entry = ::readdir(dir)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') out.emplace_back(entry->d_name);
  }
  ::closedir(dir);
  return out;
}

uint64_t quota_us(uint32_t percent) { return std::max(percent * PERIOD_US / 100, QUOTA_US_MIN); }

}  // namespace

CgroupTree::CgroupTree(std::string proc) : name_("penstock-" + std::to_string(::getpid())) { find_places(proc); }

CgroupTree::~CgroupTree() {
  while (!groups_.empty()) remove(groups_.begin()->first);
  if (!prepared_) return;
  ::rmdir((memory_base_ + "/" + name_).c_str());
  ::rmdir((cpu_base_ + "/" + name_).c_str());
}

void CgroupTree::find_places(const std::string& proc) {
  const auto mounts = read_text(proc + "/self/mounts");
  const auto own = read_text(proc + "/self/cgroup");
  if (!mounts || !own) {
    why_ = "no cgroups: " + (mounts ? own : mounts).error().message;
    return;
  }
  std::map<std::string, std::string> paths;  // by controller; "" is version 2
  for (const std::string& line : split(*own, '\n')) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) paths[""] = line.substr(second + 1);
    for (const std::string& one : split(controllers, ',')) paths[one] = line.substr(second + 1);
  }
  std::string v2;
  for (const std::string& line : split(*mounts, '\n')) {
    const std::vector<std::string> words = split(line, ' ');
    if (words.size() < 4) continue;
    if (words[2] == "cgroup2") v2 = place(words[1], paths[""]);
    if (words[2] != "cgroup") continue;
    if (has_word(words[3], "memory", ',')) memory_base_ = place(words[1], paths["memory"]);
    if (has_word(words[3], "cpu", ',')) cpu_base_ = place(words[1], paths["cpu"]);
  }
  const std::string controllers = v2.empty() ? "" : read_text(v2 + "/cgroup.controllers").value_or("");
  if (controllers.find("memory") != std::string::npos && controllers.find("cpu") != std::string::npos) {
    version_ = Version::V2;
    memory_base_ = v2;
    cpu_base_ = v2;
  } else if (!memory_base_.empty() || !cpu_base_.empty()) {
    version_ = Version::V1;
  } else {
    why_ =
        v2.empty() ? "no cgroup file system is mounted" : "cgroup v2 at " + v2 + " has no cpu and memory controllers";
  }
}

std::string CgroupTree::text() const {
  if (version_ == Version::V2) return "cgroup v2 at " + memory_base_;
  return version_ == Version::V1 ? "cgroup v1" : why_;
}

// What instances that are gone could not remove.
void CgroupTree::sweep(const std::string& base) const {
  for (const std::string& name : subdirectories(base)) {
    if (!name.starts_with("penstock-") || name == name_) continue;
    const auto pid = parse_decimal(std::string_view(name).substr(9));
    if (!pid || exists("/proc/" + std::to_string(*pid))) continue;
    const std::string path = base + "/" + name;
    for (const std::string& pool : subdirectories(path)) ::rmdir((path + "/" + pool).c_str());
    ::rmdir(path.c_str());
  }
}

// Version 2 gives controllers only to groups without processes of their own: what is in ours must move one down. That
// is done where all of it is ours, as in a service of its own; never to the processes of others.
Status CgroupTree::delegate() {
  const std::string control = memory_base_ + "/cgroup.subtree_control";
  Status ok = write_text(control, "+cpu +memory");
  if (ok || ok.error().code != EBUSY) return ok;
  const auto inside = read_text(memory_base_ + "/cgroup.procs");
  if (!inside) return std::unexpected(inside.error());
  const std::vector<std::string> pids = split(*inside, '\n');
  for (const std::string& pid : pids) {
    const auto number = static_cast<pid_t>(parse_decimal(pid).value_or(0));
    if (number != ::getpid() && parent_process(number) != ::getpid()) {
      return fail("process " + pid +
                  " shares the cgroup of penstock, which needs one of its own (systemd: Delegate=yes)");
    }
  }
  ok = make_directory(memory_base_ + "/penstock-roles");
  for (const std::string& pid : pids) {
    if (ok) ok = write_text(memory_base_ + "/penstock-roles/cgroup.procs", pid);
  }
  return ok ? write_text(control, "+cpu +memory") : ok;
}

Status CgroupTree::prepare() {
  if (prepared_) return {};
  if (version_ == Version::NONE) return fail(why_);
  if (version_ == Version::V2) {
    if (Status ok = delegate(); !ok) return ok;
  }
  for (const std::string& base : {memory_base_, cpu_base_}) {
    if (base.empty()) continue;
    sweep(base);
    if (Status ok = make_directory(base + "/" + name_); !ok) return ok;
    if (version_ == Version::V2) {
      if (Status ok = write_text(base + "/" + name_ + "/cgroup.subtree_control", "+cpu +memory"); !ok) return ok;
    }
  }
  prepared_ = true;
  return {};
}

Status CgroupTree::set(const std::string& pool, const CgroupLimits& limits) {
  if (!limits.any() && !groups_.contains(pool)) return {};
  if (Status ok = prepare(); !ok) return ok;
  Group& group = groups_[pool];
  if (!memory_base_.empty()) group.memory = memory_base_ + "/" + name_ + "/" + pool;
  if (!cpu_base_.empty()) group.cpu = cpu_base_ + "/" + name_ + "/" + pool;
  for (const std::string& path : {group.memory, group.cpu}) {
    if (path.empty()) continue;
    if (Status ok = make_directory(path); !ok) return ok;
  }
  const bool v2 = version_ == Version::V2;
  Status memory;
  Status cpu;
  if (group.memory.empty()) {
    if (limits.memory_max != 0) memory = fail("there is no memory controller");
  } else {
    const std::string file = group.memory + (v2 ? "/memory.max" : "/memory.limit_in_bytes");
    memory = write_text(file, limits.memory_max != 0 ? std::to_string(limits.memory_max) : v2 ? "max" : "-1");
  }
  if (group.cpu.empty()) {
    if (limits.cpu_percent != 0) cpu = fail("there is no cpu controller");
  } else if (v2) {
    const std::string quota = limits.cpu_percent != 0 ? std::to_string(quota_us(limits.cpu_percent)) : "max";
    cpu = write_text(group.cpu + "/cpu.max", quota + " " + std::to_string(PERIOD_US));
  } else {
    cpu = write_text(group.cpu + "/cpu.cfs_period_us", std::to_string(PERIOD_US));
    const std::string quota = limits.cpu_percent != 0 ? std::to_string(quota_us(limits.cpu_percent)) : "-1";
    if (cpu) cpu = write_text(group.cpu + "/cpu.cfs_quota_us", quota);
  }
  return memory ? cpu : memory;
}

Status CgroupTree::add(const std::string& pool, pid_t pid) {
  const auto found = groups_.find(pool);
  if (found == groups_.end()) return {};
  const Group& group = found->second;
  Status ok;
  if (!group.memory.empty()) ok = write_text(group.memory + "/cgroup.procs", std::to_string(pid));
  if (ok && !group.cpu.empty() && group.cpu != group.memory) {
    ok = write_text(group.cpu + "/cgroup.procs", std::to_string(pid));
  }
  return ok;
}

uint64_t CgroupTree::memory_kills(const std::string& pool) const {
  const auto found = groups_.find(pool);
  if (found == groups_.end() || found->second.memory.empty()) return 0;
  return number_in(found->second.memory + (version_ == Version::V2 ? "/memory.events" : "/memory.oom_control"),
                   "oom_kill");
}

void CgroupTree::remove(const std::string& pool) {
  const auto found = groups_.find(pool);
  if (found == groups_.end()) return;
  ::rmdir(found->second.memory.c_str());
  ::rmdir(found->second.cpu.c_str());
  groups_.erase(found);
}

}  // namespace penstock
