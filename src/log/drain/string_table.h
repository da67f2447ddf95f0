// StringTable: strings to small numbers, each string once, within limits. For the binary log's writer.
//
// One owner. Id 0 is the empty string; ids count up from 1. It forgets all at clear() and nothing before:
// what it holds is what a reader of the file has been told.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class StringTable {
 public:
  // At most `ids_max` strings (below 2^32) with `bytes_max` bytes together. `seed` keys the hash: clients choose the
  // strings.
  StringTable(uint32_t ids_max, size_t bytes_max, uint64_t seed);

  // The id of `text`, new or old; nothing when the table is full. REQUIRES: text.size() < 65536.
  [[nodiscard]] std::optional<uint32_t> id_of(std::string_view text);

  [[nodiscard]] uint32_t count() const { return static_cast<uint32_t>(entries_.size()); }
  // The string with an id above 0 and at most count().
  [[nodiscard]] std::string_view at(uint32_t id) const;
  void clear();

 private:
  struct Entry {
    uint64_t hash;
    uint32_t offset;
    uint32_t size;
  };
  void grow();

  uint32_t ids_max_;
  size_t bytes_max_;
  uint64_t seed_;
  std::vector<Entry> entries_;    // id - 1
  std::vector<uint32_t> places_;  // open addressing: id, or 0 where empty; a power of two, at most half full
  std::string bytes_;
};

}  // namespace penstock
