// LabelIndex: which entries of the table carry a label, so that all of one label can go at once.
//
// A label is a 64-bit number that the owner makes of whatever it purges by: a tag, or the URL that several entries are
// variants of. Its links lie in the entries' own allocations; the index costs a map node for each label that is in use.
// No lock of its own: the table's mutex guards it.
#pragma once

#include "cache/entry.h"

#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <utility>

namespace penstock {

class LabelIndex {
 public:
  // Puts the entry's labels in, behind what they have. REQUIRES: not in.
  void link(Entry* entry) {
    for (EntryLabel& at : entry->labels()) {
      List& list = lists_[at.label];
      at.prev = list.last;
      at.next = nullptr;
      (list.last != nullptr ? list.last->next : list.first) = &at;
      list.last = &at;
      ++list.count;
    }
  }
  // REQUIRES: in.
  void unlink(Entry* entry) {
    for (EntryLabel& at : entry->labels()) {
      const auto found = lists_.find(at.label);
      List& list = found->second;
      (at.prev != nullptr ? at.prev->next : list.first) = at.next;
      (at.next != nullptr ? at.next->prev : list.last) = at.prev;
      if (--list.count == 0) lists_.erase(found);
    }
  }
  // The entry that has carried the label longest, or nullptr.
  [[nodiscard]] Entry* oldest(uint64_t label) const {
    const auto found = lists_.find(label);
    return found == lists_.end() ? nullptr : found->second.first->entry;
  }
  // Which variant is to leave first: the oldest that was not asked for since it came, or since it was last passed over
  // here. Those that were are counted down and go behind the others, so that who makes variants nobody asks for again
  // drives out his own. Never a marker, nor `but`; nullptr: there is none.
  [[nodiscard]] Entry* unwanted_variant(uint64_t label, const Entry* but) {
    const auto found = lists_.find(label);
    if (found == lists_.end()) return nullptr;
    List& list = found->second;
    bool some = true;
    while (std::exchange(some, false)) {
      EntryLabel* at = list.first;
      for (uint32_t left = list.count; left > 0; --left) {
        EntryLabel* const next = at->next;
        Entry* const entry = at->entry;
        if (entry != but && !entry->is_marker()) {
          const uint8_t hits = entry->freq_.load(std::memory_order_relaxed);
          if (hits == 0) return entry;
          entry->freq_.store(static_cast<uint8_t>(hits - 1), std::memory_order_relaxed);
          move_behind(list, at);
          some = true;
        }
        at = next;
      }
    }
    return nullptr;
  }
  [[nodiscard]] uint32_t count(uint64_t label) const {
    const auto found = lists_.find(label);
    return found == lists_.end() ? 0 : found->second.count;
  }
  [[nodiscard]] uint64_t memory_bytes() const {
    constexpr uint64_t NODE = 64;  // of the map, as allocators round
    return lists_.empty() ? 0 : lists_.size() * NODE + lists_.bucket_count() * sizeof(void*);
  }

 private:
  struct List {
    EntryLabel* first = nullptr;
    EntryLabel* last = nullptr;
    uint32_t count = 0;
  };
  static void move_behind(List& list, EntryLabel* at) {
    if (at == list.last) return;
    (at->prev != nullptr ? at->prev->next : list.first) = at->next;
    at->next->prev = at->prev;
    at->prev = list.last;
    at->next = nullptr;
    list.last->next = at;
    list.last = at;
  }
  std::unordered_map<uint64_t, List> lists_;
};

}  // namespace penstock
