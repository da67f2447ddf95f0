#include "pool/sandbox/program_start.h"

#include "src/base/bytes.h"
#include "src/base/result.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr uint64_t PAGE = 4096;
constexpr int INTERPRETERS_MAX = 5;   // as the kernel: BINPRM_MAX_RECURSION
constexpr size_t SCRIPT_BYTES = 256;  // as the kernel: BINPRM_BUF_SIZE
constexpr uint64_t VARIABLES_MAX = 256;
constexpr size_t VARIABLE_BYTES_MAX = 9000;  // a target has at most 8 KiB by default
constexpr size_t STATUS_BYTES = 4096;

std::string proc(pid_t thread, const char* what) { return "/proc/" + std::to_string(thread) + "/" + what; }

// The text at an address of the caller's, up to its NUL. Error: the errno; EFAULT is the caller's own fault.
Result<std::string> read_text(pid_t thread, uint64_t address, size_t bytes_max = PATH_MAX) {
  std::string text;
  std::array<char, PAGE> bytes;
  while (text.size() < bytes_max) {
    // Never over the end of a page: the next one may not be there.
    const size_t size = std::min<size_t>(PAGE - address % PAGE, bytes_max - text.size());
    const iovec to{bytes.data(), size};
    const iovec from{std::bit_cast<void*>(address), size};
    const ssize_t n = ::process_vm_readv(thread, &to, 1, &from, 1, 0);
    if (n <= 0) return fail("read a path", n == 0 ? EFAULT : errno);
    const std::string_view part(bytes.data(), static_cast<size_t>(n));
    text += part.substr(0, part.find('\0'));
    if (part.find('\0') != std::string_view::npos) return text;
    address += static_cast<uint64_t>(n);
  }
  return fail("read a path", ENAMETOOLONG);
}

std::string link_target(const std::string& path) {
  std::array<char, PATH_MAX> target;
  const ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
  return n > 0 ? std::string(target.data(), static_cast<size_t>(n)) : std::string();
}

// Absolute, still with its links. "" where the directory cannot be told.
std::string absolute(pid_t thread, const std::string& directory_link, const std::string& path) {
  if (path.starts_with('/')) return path;
  const std::string directory = link_target(proc(thread, directory_link.c_str()));
  if (!directory.starts_with('/')) return {};
  return path.empty() ? directory : directory + "/" + path;
}

// Resolves inside the caller's root. Error: the errno.
Result<UniqueFd> open_within(int root, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
  if (!fd.valid()) return fail("open a program", errno);
  return fd;
}

std::string first_bytes(int path_fd) {
  const std::string name = "/proc/self/fd/" + std::to_string(path_fd);
  const UniqueFd fd(::open(name.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  std::array<char, SCRIPT_BYTES> bytes;
  const ssize_t n = fd.valid() ? ::pread(fd.get(), bytes.data(), bytes.size(), 0) : -1;
  return n > 0 ? std::string(bytes.data(), static_cast<size_t>(n)) : std::string();
}

// The file itself; `script`: the interpreter that it names, or "". Error: the errno that execve would give.
Result<ProgramFile> look_at(int root, const std::string& path, std::string& script) {
  const auto fd = open_within(root, path);
  if (!fd) return std::unexpected(fd.error());
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0) return fail("stat a program", errno);
  if (!S_ISREG(info.st_mode)) return fail("not a file", EACCES);
  // Without a bit that says so it is no program; and of some such files what is read is gone (/proc/kmsg).
  script = (info.st_mode & 0111) != 0 ? script_interpreter(first_bytes(fd->get())) : std::string_view{};
  ProgramFile file;
  file.path = link_target("/proc/self/fd/" + std::to_string(fd->get()));
  if (file.path.empty()) file.path = path;
  file.device = info.st_dev;
  file.inode = info.st_ino;
  return file;
}

// A word of the caller's memory that holds an address; 0 where it cannot be read.
uint64_t read_address(pid_t thread, uint64_t address) {
  uint64_t value = 0;
  const iovec to{&value, sizeof value};
  const iovec from{std::bit_cast<void*>(address), sizeof value};
  return ::process_vm_readv(thread, &to, 1, &from, 1, 0) == sizeof value ? value : 0;
}

std::string_view line_of(std::string_view status, std::string_view name) {
  const size_t at = status.find(name);
  if (at == std::string_view::npos) return {};
  status.remove_prefix(at + name.size());
  return status.substr(0, status.find('\n'));
}

// The `index`th of the numbers that tabs divide.
std::optional<uint64_t> number_of(std::string_view line, int index) {
  for (; index > 0; --index) {
    const size_t tab = line.find('\t');
    if (tab == std::string_view::npos) return std::nullopt;
    line.remove_prefix(tab + 1);
  }
  return parse_decimal(line.substr(0, line.find('\t')));
}

}  // namespace

std::optional<CallOrigin> parse_origin(std::string_view status) {
  // The name of the program stands before these lines; the kernel escapes line feeds in it.
  const auto process = number_of(line_of(status, "\nTgid:\t"), 0);
  const auto parent = number_of(line_of(status, "\nPPid:\t"), 0);
  const auto uid = number_of(line_of(status, "\nUid:\t"), 1);
  if (!process || !parent || !uid || *process == 0 || *process > INT_MAX || *parent > INT_MAX || *uid > UINT_MAX) {
    return std::nullopt;
  }
  return CallOrigin{static_cast<pid_t>(*process), static_cast<pid_t>(*parent), static_cast<uid_t>(*uid)};
}

std::optional<CallOrigin> read_origin(pid_t thread) {
  const UniqueFd fd(::open(proc(thread, "status").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, STATUS_BYTES> bytes;
  const ssize_t n = fd.valid() ? ::read(fd.get(), bytes.data(), bytes.size()) : -1;
  if (n <= 0) return std::nullopt;
  return parse_origin({bytes.data(), static_cast<size_t>(n)});
}

std::string_view script_interpreter(std::string_view first) {
  if (!first.starts_with("#!")) return {};
  first.remove_prefix(2);
  first = first.substr(0, first.find('\n'));
  const size_t begin = first.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  first.remove_prefix(begin);
  return first.substr(0, first.find_first_of(std::string_view(" \t\0", 3)));
}

RequestHint read_request_hint(const WaitingCall& call) {
  RequestHint hint;
  const std::pair<std::string_view, std::string*> wanted[] = {
      {"REMOTE_ADDR=", &hint.address}, {"REMOTE_PORT=", &hint.port}, {"REQUEST_URI=", &hint.target}};
  const uint64_t list = call.arguments[call.number == SYS_execveat ? 3 : 2];
  for (uint64_t i = 0; i < VARIABLES_MAX; ++i) {
    const uint64_t place = read_address(call.thread, list + i * sizeof(uint64_t));
    if (place == 0) break;
    const auto text = read_text(call.thread, place, VARIABLE_BYTES_MAX);
    if (!text) continue;
    for (const auto& [name, value] : wanted) {
      if (text->starts_with(name)) *value = text->substr(name.size());
    }
  }
  return hint;
}

ProgramStart read_program_start(const WaitingCall& call) {
  ProgramStart start;
  const bool at = call.number == SYS_execveat;
  auto text = read_text(call.thread, call.arguments[at ? 1 : 0]);
  if (!text) {
    start.error = text.error().code;
    start.readable = start.error == EFAULT || start.error == ENAMETOOLONG;
    return start;
  }
  start.asked = std::move(*text);
  const auto directory = static_cast<int>(call.arguments[0]);
  const std::string link = at && directory != AT_FDCWD ? "fd/" + std::to_string(directory) : "cwd";
  const std::string path = absolute(call.thread, link, start.asked);
  const UniqueFd root(::open(proc(call.thread, "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (path.empty() || !root.valid()) return start;
  start.readable = true;
  std::string script;
  auto file = look_at(root.get(), start.asked.empty() && !at ? "" : path, script);
  if (!file) {
    start.error = file.error().code;
    return start;
  }
  start.file = std::move(*file);
  for (int i = 0; i < INTERPRETERS_MAX && !script.empty(); ++i) {
    const std::string interpreter = absolute(call.thread, "cwd", script);
    auto next = look_at(root.get(), interpreter, script);
    if (!next) {
      start.error = next.error().code;
      return start;
    }
    start.interpreters.push_back(std::move(*next));
  }
  return start;
}

}  // namespace penstock
