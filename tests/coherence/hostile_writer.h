// HostileWriter: changes files in every way there is, as fast or as slowly as chance wants.
#pragma once

#include "src/base/clock.h"
#include "src/base/prng.h"
#include "tests/coherence/file_history.h"
#include "tests/support/temp_dir.h"

#include <array>
#include <atomic>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <string_view>

namespace penstock {

class HostileWriter {
 public:
  static constexpr size_t FILES = 8;
  static constexpr uint32_t BLOCKS_MAX = 24;

  // `outside`: a directory on the same file system that no watch covers, for other names of the files.
  HostileWriter(const TempDir& root, const TempDir& outside, uint64_t seed)
      : root_(root), outside_(outside), random_(seed) {
    root.make_dir("a");
    root.make_dir("a/b");
    for (size_t i = 0; i < FILES; ++i) rename_replace(i, next_state(i));
  }

  static std::string name(size_t file) {
    constexpr const char* DIRECTORIES[] = {"", "a/", "a/b/"};
    return DIRECTORIES[file % 3] + std::string("f") + std::to_string(file) + ".txt";
  }
  [[nodiscard]] FileHistory& history(size_t file) { return files_[file].history; }

  void run(const std::atomic<bool>& stop) {
    for (size_t i = 0; i < FILES; ++i) let_be_seen(i);
    while (!stop.load(std::memory_order_relaxed)) {
      step(random_.below(FILES));
      // Mostly a few milliseconds; sometimes a burst without any, sometimes long enough to settle.
      if (random_.one_in(50)) burst_ = 20;
      if (burst_ > 0) {
        --burst_;
      } else {
        pause(random_.one_in(10) ? 60 : random_.below(12));
      }
    }
  }
  [[nodiscard]] const char* last_step(size_t file) const { return files_[file].last.load(); }
  [[nodiscard]] uint64_t changes() const { return changes_; }

 private:
  struct File {
    FileHistory history;
    FileState state;
    std::atomic<const char*> last{""};
    uint32_t cut_below = UINT32_MAX;  // of this version only fewer blocks are a state that never was
  };

  static void pause(uint32_t ms) {
    if (ms > 0) (void)::poll(nullptr, 0, static_cast<int>(ms));
  }
  // Who finds an inode for the first time while it is being written, by a name that nobody ever watched,
  // cannot know (src/files/file_watch.h): let it be found before.
  void let_be_seen(size_t file) const {
    for (int i = 0; i < 5000 && !files_[file].history.latest_seen(); ++i) pause(1);
  }
  // In the middle of writing: mostly not, sometimes longer than any settling time.
  void dawdle() {
    if (random_.one_in(4)) pause(random_.one_in(8) ? 45 : random_.below(4));
  }
  [[nodiscard]] int64_t now() { return clock_.now().ns; }

  FileState next_state(size_t file) { return {++files_[file].state.version, 2 + random_.below(BLOCKS_MAX - 2)}; }

  void put_slowly(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const size_t size = std::min<size_t>(bytes.size(), 1 + random_.below(4000));
      TempDir::put(fd, bytes.substr(0, size));
      bytes.remove_prefix(size);
      dawdle();
    }
  }

  void commit(size_t file, FileState state, Change by) {
    files_[file].history.done(now(), by);
    files_[file].state = state;
    files_[file].cut_below = by == Change::RENAME || by == Change::IN_PLACE ? state.blocks : files_[file].cut_below;
    ++changes_;
  }

  void rename_replace(size_t file, FileState state) {
    files_[file].last = "rename_replace";
    const std::string temporary = name(file) + "~";
    root_.write(temporary, bytes_of(state));
    files_[file].history.begin(state, false);
    root_.rename(temporary, name(file));
    commit(file, state, Change::RENAME);
  }

  // Another name of the same inode, outside: then the file is rewritten through that name.
  void hard_link_swap(size_t file, FileState state) {
    files_[file].last = "hard_link_swap";
    outside_.replace(name_outside(file), bytes_of(state));
    const std::string temporary = root_.at(name(file) + "~");
    ASSERT(::link(outside_.at(name_outside(file)).c_str(), temporary.c_str()) == 0);
    files_[file].history.begin(state, false);
    ASSERT(::rename(temporary.c_str(), root_.at(name(file)).c_str()) == 0);
    commit(file, state, Change::RENAME);
  }
  static std::string name_outside(size_t file) { return "other" + std::to_string(file); }

  void rewrite(size_t file, const std::string& path, FileState state, int flags) {
    files_[file].last = flags == 0 ? "overwrite" : "rewrite";
    files_[file].history.begin(state, false);
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags));
    ASSERT(fd.valid());
    if ((flags & O_TRUNC) == 0) {
      // Same length or longer without truncating; then cut to length while still open.
      put_slowly(fd.get(), bytes_of(state));
      ASSERT(::ftruncate(fd.get(), static_cast<off_t>(state.blocks * BLOCK_BYTES)) == 0);
    } else {
      put_slowly(fd.get(), bytes_of(state));
    }
    fd.reset();
    commit(file, state, Change::IN_PLACE);
  }

  void truncate_by_path(size_t file) {
    files_[file].last = "truncate_by_path";
    File& f = files_[file];
    const uint32_t blocks = std::min(f.state.blocks, f.cut_below);
    if (blocks < 2) return;
    const FileState state{f.state.version, blocks - 1};
    f.history.begin(state, false);
    ASSERT(::truncate(root_.at(name(file)).c_str(), static_cast<off_t>(state.blocks * BLOCK_BYTES)) == 0);
    f.cut_below = state.blocks;
    commit(file, state, Change::TRUNCATE);
  }

  void append(size_t file) {
    files_[file].last = "append";
    File& f = files_[file];
    // Only beyond every length this version has had, so that each (version, blocks) is one moment.
    if (f.cut_below != f.state.blocks || f.state.blocks + 3 > BLOCKS_MAX * 2) return;
    const FileState state{f.state.version, f.state.blocks + 3};
    f.history.begin(state, false);
    UniqueFd fd(::open(root_.at(name(file)).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    ASSERT(fd.valid());
    put_slowly(fd.get(), bytes_of(state).substr(f.state.blocks * BLOCK_BYTES));
    fd.reset();
    commit(file, state, Change::IN_PLACE);
  }

  void remove_and_create(size_t file, FileState state) {
    files_[file].last = "remove_and_create";
    files_[file].history.begin(state, true);
    root_.remove(name(file));
    dawdle();
    UniqueFd fd(::open(root_.at(name(file)).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    ASSERT(fd.valid());
    put_slowly(fd.get(), bytes_of(state));
    fd.reset();
    commit(file, state, Change::IN_PLACE);
  }

  void step(size_t file) {
    const std::string path = root_.at(name(file));
    switch (random_.below(8)) {
      case 0:
        return rename_replace(file, next_state(file));
      case 1:
        return rewrite(file, path, next_state(file), O_TRUNC);
      case 2:
        return rewrite(file, path, next_state(file), 0);
      case 3:
        return truncate_by_path(file);
      case 4:
        return append(file);
      case 5:
        return (void)::chmod(path.c_str(), random_.one_in(2) ? 0600 : 0644);
      case 6: {
        hard_link_swap(file, next_state(file));
        let_be_seen(file);
        return rewrite(file, outside_.at(name_outside(file)), next_state(file), random_.one_in(2) ? O_TRUNC : 0);
      }
      default:
        return remove_and_create(file, next_state(file));
    }
  }

  const TempDir& root_;
  const TempDir& outside_;
  Prng random_;
  RealClock clock_;
  std::array<File, FILES> files_;
  uint32_t burst_ = 0;
  std::atomic<uint64_t> changes_{0};
};

}  // namespace penstock
