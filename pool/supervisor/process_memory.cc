#include "pool/supervisor/process_memory.h"

#include "src/base/bytes.h"
#include "src/base/unique_fd.h"

#include <algorithm>
#include <array>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <string_view>
#include <unistd.h>

namespace penstock {
namespace {

std::string read_small(const std::string& path) {
  std::string text;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 4096> bytes;
  for (ssize_t n = 1; fd.valid() && n > 0 && text.size() < 64 * bytes.size();) {
    n = ::read(fd.get(), bytes.data(), bytes.size());
    if (n > 0) text.append(bytes.data(), static_cast<size_t>(n));
  }
  return text;
}

std::vector<uint64_t> numbers_of(std::string_view text) {
  std::vector<uint64_t> numbers;
  while (!text.empty()) {
    const size_t end = text.find_first_of(" \n");
    if (const auto number = parse_decimal(text.substr(0, end))) numbers.push_back(*number);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return numbers;
}

// proc(5): of each thread those that it has started.
void add_children(const std::string& process, std::vector<uint64_t>& to) {
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir((process + "/task").c_str()), ::closedir);
  if (tasks == nullptr) return;
  while (const dirent* task = ::readdir(tasks.get())) {
    if (task->d_name[0] == '.') continue;
    for (const uint64_t pid : numbers_of(read_small(process + "/task/" + task->d_name + "/children"))) {
      if (to.size() < PROCESSES_MAX) to.push_back(pid);
    }
  }
}

// /proc/PID/stat: the numbers 14 to 17, in ticks; the second field is a name in brackets that may hold anything.
std::optional<uint64_t> cpu_ticks(std::string_view stat) {
  constexpr size_t FIRST = 11;  // utime, of the fields behind the name
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos || name_end + 2 > stat.size()) return std::nullopt;
  stat.remove_prefix(name_end + 2);
  uint64_t ticks = 0;
  for (size_t field = 0; field < FIRST + 4; ++field) {
    const size_t end = stat.find(' ');
    if (end == std::string_view::npos) return std::nullopt;
    if (field >= FIRST) ticks += parse_decimal(stat.substr(0, end)).value_or(0);
    stat.remove_prefix(end + 1);
  }
  return ticks;
}

// The sum of what `read`(path of a process, whether it is the first) has of the process and of all that it has started.
// Nothing: the first has ended.
template <typename Read>
std::optional<uint64_t> sum_of_tree(pid_t pid, const std::string& proc, const Read& read) {
  std::vector<uint64_t> processes = {static_cast<uint64_t>(pid)};
  uint64_t sum = 0;
  for (size_t i = 0; i < processes.size(); ++i) {
    const std::string process = proc + "/" + std::to_string(processes[i]);
    const std::optional<uint64_t> one = read(process, i == 0);
    if (!one && i == 0) return std::nullopt;
    sum += one.value_or(0);
    if (one) add_children(process, processes);
  }
  return sum;
}

}  // namespace

// "MemTotal:       24684084 kB"
std::optional<uint32_t> memory_used_percent(const std::string& proc) {
  const std::string text = read_small(proc + "/meminfo");
  const auto kib_of = [&text](std::string_view name) -> std::optional<uint64_t> {
    size_t at = text.find(name);
    if (at == std::string::npos) return std::nullopt;
    at = text.find_first_not_of(' ', at + name.size());
    if (at == std::string::npos) return std::nullopt;
    return parse_decimal(std::string_view(text).substr(at, text.find(' ', at) - at));
  };
  const auto total = kib_of("MemTotal:");
  const auto available = kib_of("MemAvailable:");
  if (!total || !available || *total == 0 || *available > *total) return std::nullopt;
  return static_cast<uint32_t>((*total - *available) * 100 / *total);
}

std::vector<pid_t> tree_processes(pid_t pid, const std::string& proc) {
  std::vector<uint64_t> processes = {static_cast<uint64_t>(pid)};
  for (size_t i = 0; i < processes.size(); ++i) add_children(proc + "/" + std::to_string(processes[i]), processes);
  std::vector<pid_t> out;
  for (const uint64_t one : processes) out.push_back(static_cast<pid_t>(one));
  return out;
}

// /proc/PID/stat: the fourth field, behind a name in brackets that may hold anything.
pid_t parent_process(pid_t pid, const std::string& proc) {
  constexpr size_t STATE = 4;  // ") S "
  const std::string text = read_small(proc + "/" + std::to_string(pid) + "/stat");
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + STATE > text.size()) return 0;
  const std::string_view rest = std::string_view(text).substr(name_end + STATE);
  return static_cast<pid_t>(parse_decimal(rest.substr(0, rest.find(' '))).value_or(0));
}

std::optional<Duration> tree_cpu_time(pid_t pid, const std::string& proc) {
  const auto ticks =
      sum_of_tree(pid, proc, [](const std::string& process, bool) { return cpu_ticks(read_small(process + "/stat")); });
  if (!ticks) return std::nullopt;
  return milliseconds(static_cast<int64_t>(*ticks * 1'000 / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK))));
}

// /proc/PID/statm: pages; the second number the resident ones, the third those of files and shared memory.
std::optional<uint64_t> tree_resident_bytes(pid_t pid, const std::string& proc) {
  const auto pages = sum_of_tree(pid, proc, [](const std::string& process, bool first) -> std::optional<uint64_t> {
    const std::vector<uint64_t> sizes = numbers_of(read_small(process + "/statm"));
    if (sizes.size() < 3) return std::nullopt;
    return first ? sizes[1] : sizes[1] - std::min(sizes[1], sizes[2]);
  });
  if (!pages) return std::nullopt;
  return *pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace penstock
