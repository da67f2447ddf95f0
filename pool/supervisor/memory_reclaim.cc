// process_madvise(2), madvise(2), proc_pid_maps(5).
#include "pool/supervisor/memory_reclaim.h"

#include "pool/supervisor/process_memory.h"
#include "pool/supervisor/read_text.h"
#include "src/base/result.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

bool take_hex(std::string_view& text, uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, 16);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return error == std::errc{};
}

}  // namespace

// "7f12-7f34 rw-p 00000000 08:01 123   /path", in the order of addresses.
std::vector<MemoryRange> reclaimable_ranges(const std::string& maps) {
  std::vector<MemoryRange> out;
  std::string_view rest = maps;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    MemoryRange range;
    if (!take_hex(line, range.begin) || !line.starts_with('-')) continue;
    line.remove_prefix(1);
    if (!take_hex(line, range.end) || line.size() < 5 || range.begin >= range.end) continue;
    const std::string_view rights = line.substr(1, 4);
    const bool rings = rights[3] == 's' && line.find("/memfd:") != std::string_view::npos;
    const bool kernels = line.find("[v") != std::string_view::npos;  // vvar, vdso, vsyscall
    if (rights[0] == 'r' && !rings && !kernels) out.push_back(range);
  }
  return out;
}

MemoryReclaim::MemoryReclaim(pid_t pid, std::string proc)
    : proc_(std::move(proc)), processes_(tree_processes(pid, proc_)) {
  std::reverse(processes_.begin(), processes_.end());
}

bool MemoryReclaim::open_next() {
  ranges_.clear();
  range_ = 0;
  if (processes_.empty()) return false;
  const pid_t pid = processes_.back();
  processes_.pop_back();
  process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (process_.valid())
    ranges_ = reclaimable_ranges(read_text(proc_ + "/" + std::to_string(pid) + "/maps").value_or(""));
  return true;
}

void MemoryReclaim::take_piece() {
  MemoryRange& range = ranges_[range_];
  const uint64_t size = std::min(range.end - range.begin, PIECE_BYTES);
  // An address of another process: never used here.
  const iovec piece = {.iov_base = reinterpret_cast<void*>(range.begin), .iov_len = size};  // NOLINT
  const long done = ::syscall(SYS_process_madvise, process_.get(), &piece, size_t{1}, MADV_PAGEOUT, 0);
  if (done < 0 && problem_.empty() && errno != ESRCH) problem_ = fail_errno("process_madvise").error().message;
  range.begin += size;
  if (done < 0 || range.begin == range.end) ++range_;
}

bool MemoryReclaim::step(Clock& clock, Duration budget) {
  const MonoTime until = clock.now() + budget;
  do {
    while (range_ == ranges_.size()) {
      if (!open_next()) return true;
    }
    take_piece();
  } while (clock.now() < until);
  return false;
}

}  // namespace penstock
