// MemoryTree, MemoryFileReader, MemoryWatch: the file system of the simulator. One thread, no disk.
//
// A tree of files and directories whose every change is dated by the caller's clock. The reader serves
// it through the FileReader seam, late, in any order, with short reads and errors, as its seed says. The
// watch bumps the cells of whoever depends on a changed path, at once.
// The bytes lie in memfds, so that a descriptor from OPEN can also be handed to a transport.
#pragma once

#include "src/base/prng.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"
#include "src/files/file_reader.h"
#include "src/files/file_watch.h"

#include <deque>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class MemoryTree {
 public:
  struct Node {
    UniqueFd bytes;  // of a file
    FileInfo info;
  };

  MemoryTree();
  // A file in place of whatever was there (rename(2) over it): a new inode.
  void put(const std::string& path, std::string_view bytes, WallTime now);
  // The same inode, rewritten. REQUIRES: it is there.
  void rewrite(const std::string& path, std::string_view bytes, WallTime now);
  void remove(const std::string& path);

  [[nodiscard]] Node* find(std::string_view path) const;
  // id.ino 0 where there is none.
  [[nodiscard]] DirectoryVersion version_of(const std::string& directory) const;
  [[nodiscard]] const std::map<std::string, Node*, std::less<>>& nodes() const { return nodes_; }
  // Called with each path that changed.
  std::function<void(const std::string&)> changed;

 private:
  void touch_directory(const std::string& path, int64_t now_ns);
  void make_parents(const std::string& path, WallTime now);
  std::map<std::string, Node*, std::less<>> nodes_;  // "" is the root
  std::deque<Node> all_;                             // also those that only an open descriptor still names
  uint64_t inodes_ = 0;
};

struct FileFaults {
  uint32_t late = 0;        // a completion comes a turn later, once in N
  uint32_t short_read = 0;  // a read brings a part
  uint32_t io_error = 0;    // EIO
};

class MemoryFileReader final : public FileReader {
 public:
  MemoryFileReader(const MemoryTree& tree, uint64_t seed, const FileFaults& faults)
      : tree_(tree), prng_(seed), faults_(faults) {}
  MemoryFileReader(const MemoryFileReader&) = delete;
  MemoryFileReader& operator=(const MemoryFileReader&) = delete;
  ~MemoryFileReader() override;

  [[nodiscard]] const char* name() const override { return "memory"; }
  [[nodiscard]] bool submit(const FileOp& op, uint64_t token) override;
  [[nodiscard]] size_t poll(std::span<FileCompletion> out) override;
  [[nodiscard]] int wake_fd() const override { return -1; }
  [[nodiscard]] int stat(int fd, FileInfo& info) override;
  void close(int fd) override;
  [[nodiscard]] const FileReaderCounters& counters() const override { return counters_; }

  void stop_faults() { faults_ = {}; }
  [[nodiscard]] size_t open_files() const { return open_.size(); }
  [[nodiscard]] uint64_t errors_made() const { return errors_made_; }

 private:
  [[nodiscard]] FileCompletion carry_out(const FileOp& op, uint64_t token);
  [[nodiscard]] FileCompletion open(const FileOp& op, uint64_t token);
  void list(const FileOp& op) const;
  [[nodiscard]] int64_t suffixes(const std::string& directory) const;

  struct Waiting {
    FileOp op;
    uint64_t token;
  };
  const MemoryTree& tree_;
  Prng prng_;
  FileFaults faults_;
  std::vector<Waiting> waiting_;
  std::map<int, MemoryTree::Node*> open_;
  FileReaderCounters counters_;
  uint64_t errors_made_ = 0;
};

class MemoryWatch final : public FileWatch {
 public:
  MemoryWatch(const MemoryTree& tree, ValidityTable& cells) : tree_(tree), cells_(cells) {}
  [[nodiscard]] WatchTicket watch(const WatchRequest& request) override;
  [[nodiscard]] WriteState write_state(Validity validity) override {
    return {.current = cells_.fresh(validity), .since = {}, .last = {}, .writes = 0};
  }
  void forget(Validity) override {}
  // Everything that depends on `path` is stale.
  void touch(const std::string& path);

 private:
  const MemoryTree& tree_;
  ValidityTable& cells_;
  std::map<std::string, uint32_t> by_path_;  // one cell a path, for the life of the run
};

}  // namespace penstock
