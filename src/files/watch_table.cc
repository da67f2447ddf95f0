// Invariants:
//  - a watch is in live_ while its cell's value is one that watch() may have given out, in stale_
//    after a bump; a bump of a stale watch would tell nobody anything and is left out;
//  - a node exists exactly while an edge names it or the kernel may still send events for it that
//    matter: when its last edge goes, it goes, and its wd is handed out as an orphan.
#include "src/files/watch_table.h"

#include "src/base/assert.h"
#include "src/base/hash.h"

#include <algorithm>

namespace penstock {
namespace {

// Of no secrecy: the names are those of the served tree, and a collision is harmless.
constexpr uint64_t NAME_SEED = 0x70656e73746f636bULL;

uint64_t hash_name(std::string_view name) { return hash_bytes(name, NAME_SEED) | 1; }  // never FILE_ITSELF

}  // namespace

WatchTable::~WatchTable() {
  for (const auto& [cell, watch] : by_cell_) cells_.free(cell);
}

uint64_t WatchTable::same_key(int wd, uint64_t name) {
  return hash_word(name ^ (static_cast<uint64_t>(static_cast<uint32_t>(wd)) << 32 | 0x9e3779b9U));
}

uint32_t WatchTable::find(const std::string& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? NONE : found->second;
}

uint32_t WatchTable::find(Validity validity) const {
  const auto found = by_cell_.find(validity.cell);
  return found == by_cell_.end() ? NONE : found->second;
}

uint32_t WatchTable::add(const std::string& key, MonoTime now) {
  ASSERT(find(key) == NONE);
  const Validity cell = cells_.allocate();
  if (cell.cell == 0) return NONE;
  uint32_t index = 0;
  if (free_watches_.empty()) {
    index = static_cast<uint32_t>(watches_.size());
    watches_.emplace_back();
  } else {
    index = free_watches_.back();
    free_watches_.pop_back();
    watches_[index] = Watch{};
  }
  Watch& watch = watches_[index];
  watch.cell = cell.cell;
  watch.key = key;
  watch.placed = now;
  by_key_.emplace(key, index);
  by_cell_.emplace(cell.cell, index);
  push_newest(stale_, index);
  return index;
}

void WatchTable::remove(uint32_t index, std::vector<int>& orphans) {
  Watch& watch = watches_[index];
  remove_edges(watch.edges, orphans);
  remove_edges(watch.old_edges, orphans);
  unlink(list_of(watch), index);
  by_key_.erase(watch.key);
  by_cell_.erase(watch.cell);
  cells_.free(watch.cell);
  watch = Watch{};
  free_watches_.push_back(index);
}

void WatchTable::begin_placing(uint32_t index) {
  Watch& watch = watches_[index];
  unlink(list_of(watch), index);
  watch.bumped = false;
  watch.placing = true;
  push_newest(live_, index);
  if (watch.old_edges != NONE) {  // an earlier try: keep its edges too until the end
    uint32_t last = watch.edges;
    while (last != NONE && edges_[last].next_watch != NONE) last = edges_[last].next_watch;
    if (last != NONE) {
      edges_[last].next_watch = watch.old_edges;
      watch.old_edges = watch.edges;
    }
  } else {
    watch.old_edges = watch.edges;
  }
  watch.edges = NONE;
}

void WatchTable::end_placing(uint32_t index, MonoTime now, std::span<const FileId> files, std::vector<int>& orphans) {
  Watch& watch = watches_[index];
  watch.files.assign(files.begin(), files.end());
  watch.placed = now;
  watch.placing = false;
  remove_edges(watch.old_edges, orphans);
  watch.old_edges = NONE;
}

uint32_t WatchTable::victim(MonoTime placed_before, uint32_t keep) const {
  uint32_t stale = stale_.oldest;
  if (stale == keep && stale != NONE) stale = watches_[stale].newer;
  if (stale != NONE) return stale;
  uint32_t live = live_.oldest;
  if (live == keep && live != NONE) live = watches_[live].newer;
  if (live != NONE && watches_[live].placed <= placed_before) return live;
  return NONE;
}

void WatchTable::bump(uint32_t index) {
  Watch& watch = watches_[index];
  if (watch.bumped) return;
  unlink(live_, index);
  watch.bumped = true;
  push_newest(stale_, index);
  cells_.bump(watch.cell);
  ++bumps_;
}

void WatchTable::bump_all() {
  while (live_.oldest != NONE) bump(live_.oldest);
  // What the writers did meanwhile is unknown.
  for (auto& [wd, node] : nodes_) node.since = {};
  unfinished_.clear();
}

void WatchTable::depend_on_name(uint32_t watch, int wd, std::string_view name) {
  (void)add_edge(watch, wd, hash_name(name));
}

void WatchTable::depend_on_file(uint32_t watch, int wd) { (void)add_edge(watch, wd, FILE_ITSELF); }

uint32_t WatchTable::add_edge(uint32_t watch, int wd, uint64_t name) {
  uint32_t index = 0;
  if (free_edges_.empty()) {
    index = static_cast<uint32_t>(edges_.size());
    edges_.emplace_back();
  } else {
    index = free_edges_.back();
    free_edges_.pop_back();
  }
  Node& node = nodes_[wd];
  const auto [same, fresh] = by_name_.try_emplace(same_key(wd, name), NONE);
  Edge& edge = edges_[index];
  edge = Edge{.name = name, .wd = wd, .watch = watch};
  edge.next_same = same->second;
  if (edge.next_same != NONE) edges_[edge.next_same].prev_same = index;
  same->second = index;
  edge.next_node = node.first;
  if (edge.next_node != NONE) edges_[edge.next_node].prev_node = index;
  node.first = index;
  edge.next_watch = watches_[watch].edges;
  watches_[watch].edges = index;
  return index;
}

void WatchTable::remove_edges(uint32_t index, std::vector<int>& orphans) {
  while (index != NONE) {
    Edge& edge = edges_[index];
    const uint32_t next = edge.next_watch;
    if (edge.next_same != NONE) edges_[edge.next_same].prev_same = edge.prev_same;
    if (edge.prev_same != NONE) {
      edges_[edge.prev_same].next_same = edge.next_same;
    } else if (edge.next_same != NONE) {
      by_name_[same_key(edge.wd, edge.name)] = edge.next_same;
    } else {
      by_name_.erase(same_key(edge.wd, edge.name));
      unfinished_.erase(same_key(edge.wd, edge.name));
    }
    const auto node = nodes_.find(edge.wd);
    if (edge.next_node != NONE) edges_[edge.next_node].prev_node = edge.prev_node;
    if (edge.prev_node != NONE) {
      edges_[edge.prev_node].next_node = edge.next_node;
    } else if (node != nodes_.end()) {
      node->second.first = edge.next_node;
    }
    if (node != nodes_.end() && node->second.first == NONE) {
      orphans.push_back(edge.wd);
      nodes_.erase(node);
    }
    free_edges_.push_back(index);
    index = next;
  }
}

void WatchTable::name_changed(int wd, std::string_view name) {
  const auto found = by_name_.find(same_key(wd, hash_name(name)));
  if (found == by_name_.end()) return;
  for (uint32_t edge = found->second; edge != NONE; edge = edges_[edge].next_same) bump(edges_[edge].watch);
}

void WatchTable::name_unfinished(int wd, std::string_view name) {
  const uint64_t key = same_key(wd, hash_name(name));
  if (by_name_.contains(key)) unfinished_.insert(key);
}

void WatchTable::name_finished(int wd, std::string_view name) { unfinished_.erase(same_key(wd, hash_name(name))); }

bool WatchTable::take_unfinished(int wd, std::string_view name) {
  return unfinished_.erase(same_key(wd, hash_name(name))) > 0;
}

void WatchTable::bump_node(const Node& node) {
  for (uint32_t edge = node.first; edge != NONE; edge = edges_[edge].next_node) bump(edges_[edge].watch);
}

void WatchTable::node_changed(int wd) {
  const auto node = nodes_.find(wd);
  if (node != nodes_.end()) bump_node(node->second);
}

void WatchTable::node_gone(int wd) {
  const auto node = nodes_.find(wd);
  if (node == nodes_.end()) return;
  // Its edges stay with their (now stale) watches and go with them; no event will name the wd again.
  node->second.since = {};
  bump_node(node->second);
}

void WatchTable::modified(int wd, MonoTime now) {
  const auto node = nodes_.find(wd);
  if (node == nodes_.end()) return;
  // Writes further apart than this are not the same rewriting of the file (a log gets its next line).
  constexpr Duration APART = seconds(1);
  if (node->second.since == MonoTime{} || now - node->second.last > APART) {
    node->second.since = now;
    node->second.writes = 0;
  }
  node->second.last = now;
  ++node->second.writes;
  bump_node(node->second);
}

void WatchTable::closed(int wd) {
  const auto node = nodes_.find(wd);
  if (node == nodes_.end()) return;
  node->second.since = {};
  bump_node(node->second);
}

void WatchTable::found_unfinished(int wd, MonoTime now) {
  const auto node = nodes_.find(wd);
  if (node == nodes_.end() || node->second.since != MonoTime{}) return;
  node->second.since = now;
  node->second.last = now;
  node->second.writes = 1;
}

WriteState WatchTable::write_state(uint32_t index) const {
  WriteState state{.current = !watches_[index].bumped, .since = {}, .last = {}, .writes = 0};
  for (uint32_t i = watches_[index].edges; i != NONE; i = edges_[i].next_watch) {
    if (edges_[i].name != FILE_ITSELF) continue;
    const auto node = nodes_.find(edges_[i].wd);
    if (node == nodes_.end() || node->second.since == MonoTime{}) continue;
    state.since = state.since == MonoTime{} ? node->second.since : std::min(state.since, node->second.since);
    state.last = std::max(state.last, node->second.last);
    state.writes = std::max(state.writes, node->second.writes);
  }
  return state;
}

void WatchTable::push_newest(List& list, uint32_t index) {
  Watch& watch = watches_[index];
  watch.newer = NONE;
  watch.older = list.newest;
  if (list.newest != NONE) watches_[list.newest].newer = index;
  list.newest = index;
  if (list.oldest == NONE) list.oldest = index;
}

void WatchTable::unlink(List& list, uint32_t index) {
  const Watch& watch = watches_[index];
  if (watch.newer != NONE) {
    watches_[watch.newer].older = watch.older;
  } else {
    list.newest = watch.older;
  }
  if (watch.older != NONE) {
    watches_[watch.older].newer = watch.newer;
  } else {
    list.oldest = watch.newer;
  }
}

}  // namespace penstock
