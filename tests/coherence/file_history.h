// FileHistory: what one file held, in order, and when; and the bytes of each state.
//
// A state is (version, blocks). Every block of a body names its version, its place and a checksum, so a
// body that is cut, or mixed of two versions, or not of a state that the file was ever meant to have, is
// recognised. One writer thread, any number of checking threads.
#pragma once

#include "src/base/hash.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

enum class Change : uint8_t { RENAME, IN_PLACE, TRUNCATE };
inline constexpr size_t CHANGES = 3;
inline constexpr const char* CHANGE_NAMES[CHANGES] = {"rename", "in place", "truncate(2)"};

struct FileState {
  uint32_t version = 0;
  uint32_t blocks = 0;
  bool operator==(const FileState&) const = default;
};

inline constexpr size_t BLOCK_BYTES = 512;

inline void append_block(uint32_t version, uint32_t place, std::string& out) {
  char block[BLOCK_BYTES];
  const uint64_t sum = hash_word(static_cast<uint64_t>(version) << 32 | place);
  std::memset(block, 'a' + static_cast<int>(sum % 26), sizeof block);
  const int size =
      std::snprintf(block, sizeof block, "%010u %010u %016llx", version, place, static_cast<unsigned long long>(sum));
  block[size] = ' ';
  block[sizeof block - 1] = '\n';
  out.append(block, sizeof block);
}

inline std::string bytes_of(FileState state) {
  std::string out;
  for (uint32_t i = 0; i < state.blocks; ++i) append_block(state.version, i, out);
  return out;
}

// The state that `body` is, or nothing: cut or mixed.
inline std::optional<FileState> recognise(std::string_view body) {
  if (body.empty() || body.size() % BLOCK_BYTES != 0) return std::nullopt;
  uint32_t version = 0;
  for (const char c : body.substr(0, 10)) {
    if (c < '0' || c > '9') return std::nullopt;
    version = version * 10 + static_cast<uint32_t>(c - '0');
  }
  const FileState state{version, static_cast<uint32_t>(body.size() / BLOCK_BYTES)};
  std::string wanted;
  for (uint32_t i = 0; i < state.blocks; ++i) {
    wanted.clear();
    append_block(version, i, wanted);
    if (body.substr(i * BLOCK_BYTES, BLOCK_BYTES) != wanted) return std::nullopt;
  }
  return state;
}

class FileHistory {
 public:
  // Writer. `absent`: the file is missing for a while meanwhile.
  void begin(FileState next, bool absent) {
    const std::lock_guard lock(mutex_);
    pending_ = next;
    absent_ = absent;
  }
  void done(int64_t now_ns, Change by) {
    const std::lock_guard lock(mutex_);
    states_.push_back({*pending_, now_ns, by});
    pending_.reset();
    latest_seen_ = false;
    if (absent_) last_absent_ns_ = now_ns;
    absent_ = false;
  }

  struct Verdict {
    bool known = false;    // the file has this state, or had it
    int64_t stale_ns = 0;  // how long before the request the next state was complete; <= 0: not stale
    Change replaced_by = Change::RENAME;
  };
  [[nodiscard]] Verdict judge(FileState state, int64_t asked_ns) {
    const std::lock_guard lock(mutex_);
    latest_seen_ = latest_seen_ || (!states_.empty() && states_.back().state == state);
    if (pending_ == state) return {.known = true};
    for (size_t i = states_.size(); i-- > 0;) {
      if (states_[i].state != state) continue;
      if (i + 1 == states_.size()) return {.known = true};
      return {true, asked_ns - states_[i + 1].at_ns, states_[i + 1].by};
    }
    return {};
  }
  // Whether somebody was answered with the latest state, so that its inode was watched.
  [[nodiscard]] bool latest_seen() const {
    const std::lock_guard lock(mutex_);
    return latest_seen_;
  }
  // Whether a request that began at `asked_ns` may have found nothing.
  [[nodiscard]] bool may_be_absent(int64_t asked_ns) const {
    const std::lock_guard lock(mutex_);
    return absent_ || last_absent_ns_ >= asked_ns;
  }

 private:
  struct Past {
    FileState state;
    int64_t at_ns;
    Change by;
  };
  mutable std::mutex mutex_;
  std::vector<Past> states_;
  std::optional<FileState> pending_;
  bool latest_seen_ = false;
  bool absent_ = false;
  int64_t last_absent_ns_ = 0;
};

}  // namespace penstock
