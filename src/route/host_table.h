// HostTable: which site has a host name, among hundreds of thousands of names.
//
// The names lie one behind the other in one text; slots that are found by a name's hash say where (open addressing, at
// most three quarters full). A look-up touches one line of the slots and the name itself, where a map of strings goes
// through its buckets, a node and the node's string: what counts when a table is larger than the processor's caches.
// Built by one thread, immutable after; any number of threads read it. Looking up never allocates.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct Site;

class HostTable {
 public:
  // A name that is there already stays with its site. REQUIRES: no NUL in `host`; all names together are below 4 GiB.
  void add(std::string_view host, const Site& site);
  // nullptr: no site has it.
  [[nodiscard]] const Site* find(std::string_view host) const;

 private:
  struct Slot {
    uint32_t hash = 0;           // the half of it that does not name the slot
    uint32_t name_at = 0;        // in names_, with a NUL behind it
    const Site* site = nullptr;  // nullptr: an empty slot
  };
  static_assert(sizeof(Slot) == 16);

  // Where `host` is, or the empty slot where it belongs. REQUIRES: slots_ has an empty one.
  [[nodiscard]] size_t place_of(std::string_view host, uint64_t hash) const;
  void grow();

  std::vector<Slot> slots_;  // their number is a power of two, or 0
  std::string names_;
  size_t count_ = 0;
};

}  // namespace penstock
