// WatchTable: which cache cells depend on which inotify watch, and which files are being written.
//
// The books of InotifyWatch, without a system call in them: pure data moved by events. Guarded by
// InotifyWatch's mutex. Terms:
//   node   one inotify watch (a descriptor `wd`): a directory, or a file's inode
//   watch  one WatchRequest with its cell
//   edge   "this watch depends on that node": on one name in a directory, or on the file itself
// Names are kept as 64-bit hashes only: two names that collide cost a needless reload, never a
// missed one.
#pragma once

#include "cache/validity.h"
#include "src/base/time.h"
#include "src/files/file_watch.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace penstock {

class WatchTable {
 public:
  static constexpr uint32_t NONE = UINT32_MAX;

  explicit WatchTable(ValidityTable& cells) : cells_(cells) {}
  WatchTable(const WatchTable&) = delete;
  WatchTable& operator=(const WatchTable&) = delete;
  ~WatchTable();  // gives every cell back, and so bumps it

  // --- watches ---------------------------------------------------------------------------
  [[nodiscard]] uint32_t find(const std::string& key) const;
  [[nodiscard]] uint32_t find(Validity validity) const;
  // A new watch, bumped (nothing is placed yet), or NONE when there is no cell.
  [[nodiscard]] uint32_t add(const std::string& key, MonoTime now);
  // Forgets a watch; nodes left without edges are appended to `orphans` (for inotify_rm_watch).
  void remove(uint32_t watch, std::vector<int>& orphans);
  // Marks the start of placing: from here on a bump means "the path changed while it was walked".
  void begin_placing(uint32_t watch);
  // The edges made since begin_placing() replace those from before.
  void end_placing(uint32_t watch, MonoTime now, std::span<const FileId> files, std::vector<int>& orphans);
  [[nodiscard]] bool placing(uint32_t watch) const { return watches_[watch].placing; }
  [[nodiscard]] bool bumped(uint32_t watch) const { return watches_[watch].bumped; }
  [[nodiscard]] Validity validity(uint32_t watch) const { return cells_.current(watches_[watch].cell); }
  [[nodiscard]] const std::vector<FileId>& files(uint32_t watch) const { return watches_[watch].files; }
  // The watch that should make room: one whose entries are stale, else the oldest; NONE: there is none
  // that is not younger than `placed_before`. Never `keep`.
  [[nodiscard]] uint32_t victim(MonoTime placed_before, uint32_t keep) const;
  void bump(uint32_t watch);
  void bump_all();
  [[nodiscard]] uint32_t watch_count() const { return static_cast<uint32_t>(by_key_.size()); }

  // --- edges -----------------------------------------------------------------------------
  void depend_on_name(uint32_t watch, int wd, std::string_view name);
  void depend_on_file(uint32_t watch, int wd);
  [[nodiscard]] size_t node_count() const { return nodes_.size(); }

  // --- events ----------------------------------------------------------------------------
  void name_changed(int wd, std::string_view name);
  // A file was created or written to under a name that somebody depends on: until it is closed, or
  // another fate meets the name, it may be incomplete. For inodes that are not watched themselves yet.
  void name_unfinished(int wd, std::string_view name);
  void name_finished(int wd, std::string_view name);
  // Whether the name is unfinished; forgets it.
  [[nodiscard]] bool take_unfinished(int wd, std::string_view name);
  void node_changed(int wd);            // itself: attributes
  void node_gone(int wd);               // the kernel dropped the watch
  void modified(int wd, MonoTime now);  // written to or truncated
  void closed(int wd);                  // by somebody who could have written
  // The file was found unfinished by the name that leads to it: as if its first write had been seen now.
  void found_unfinished(int wd, MonoTime now);
  [[nodiscard]] WriteState write_state(uint32_t watch) const;

  [[nodiscard]] uint64_t bumps() const { return bumps_; }

 private:
  static constexpr uint64_t FILE_ITSELF = 0;  // Edge::name of a file node

  struct Edge {
    uint64_t name = 0;
    int wd = -1;
    uint32_t watch = NONE;
    uint32_t next_same = NONE, prev_same = NONE;  // edges with the same (wd, name)
    uint32_t next_node = NONE, prev_node = NONE;  // edges of the same node
    uint32_t next_watch = NONE;                   // edges of the same watch
  };
  struct Node {
    uint32_t first = NONE;
    // Of a file: as in WriteState.
    MonoTime since{};
    MonoTime last{};
    uint32_t writes = 0;
  };
  struct Watch {
    uint32_t cell = 0;
    bool bumped = true;
    bool placing = false;
    uint32_t edges = NONE;      // in force
    uint32_t old_edges = NONE;  // while placing: those from before
    std::string key;
    std::vector<FileId> files;
    MonoTime placed{};
    uint32_t newer = NONE, older = NONE;  // in live_ or stale_
  };
  struct List {
    uint32_t oldest = NONE, newest = NONE;
  };
  struct KeyHash {
    size_t operator()(uint64_t key) const { return key; }  // is a hash already
  };

  [[nodiscard]] static uint64_t same_key(int wd, uint64_t name);
  uint32_t add_edge(uint32_t watch, int wd, uint64_t name);
  void remove_edges(uint32_t first, std::vector<int>& orphans);
  void bump_node(const Node& node);
  void push_newest(List& list, uint32_t watch);
  void unlink(List& list, uint32_t watch);
  List& list_of(const Watch& watch) { return watch.bumped ? stale_ : live_; }

  ValidityTable& cells_;
  std::vector<Watch> watches_;
  std::vector<uint32_t> free_watches_;
  std::vector<Edge> edges_;
  std::vector<uint32_t> free_edges_;
  std::unordered_map<std::string, uint32_t> by_key_;
  std::unordered_map<uint32_t, uint32_t> by_cell_;
  std::unordered_map<uint64_t, uint32_t, KeyHash> by_name_;  // same_key → first edge
  std::unordered_map<int, Node> nodes_;
  std::unordered_set<uint64_t, KeyHash> unfinished_;  // same_keys of by_name_
  List live_, stale_;                                 // oldest placed first; longest stale first
  uint64_t bumps_ = 0;
};

}  // namespace penstock
