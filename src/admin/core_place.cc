#include "src/admin/core_place.h"

#include <algorithm>
#include <fstream>

namespace penstock {
namespace {

std::string first_line(const char* path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

std::string specified(char letter, const CoreOf& of) {
  const std::string name = of.program.substr(of.program.rfind('/') + 1);
  std::string path = of.program;
  std::ranges::replace(path, '/', '!');
  switch (letter) {
    case '%':
      return "%";
    case 'P':
      return std::to_string(of.pid);
    case 'u':
      return std::to_string(of.uid);
    case 'g':
      return std::to_string(of.gid);
    case 's':
      return std::to_string(of.signal);
    case 'f':
      return name;
    case 'E':
      return path;
    default:
      return "*";
  }
}

}  // namespace

std::string core_place(std::string_view pattern, bool uses_pid, const CoreOf& of) {
  if (pattern.starts_with('|')) {
    pattern.remove_prefix(1);
    return "given to " + std::string(pattern.substr(0, pattern.find(' ')));
  }
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      out += pattern[i];
    } else if (++i < pattern.size()) {
      out += specified(pattern[i], of);
    }
  }
  if (uses_pid && pattern.find("%p") == std::string_view::npos) out += ".*";
  if (!out.starts_with('/') && !of.directory.empty()) out.insert(0, of.directory + "/");
  return out;
}

std::string core_place(const CoreOf& of) {
  return core_place(first_line("/proc/sys/kernel/core_pattern"), first_line("/proc/sys/kernel/core_uses_pid") == "1",
                    of);
}

}  // namespace penstock
