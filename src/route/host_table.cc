#include "src/route/host_table.h"

#include "src/base/assert.h"
#include "src/base/hash.h"

#include <cstring>

namespace penstock {
namespace {

constexpr size_t SLOTS_MIN = 16;

uint64_t hash_of(std::string_view host) { return hash_bytes(host, 0); }  // the names are the configuration's own

}  // namespace

void HostTable::add(std::string_view host, const Site& site) {
  ASSERT(host.size() < UINT32_MAX - names_.size());
  if ((count_ + 1) * 4 > slots_.size() * 3) grow();
  const uint64_t hash = hash_of(host);
  Slot& slot = slots_[place_of(host, hash)];
  if (slot.site != nullptr) return;
  slot = {.hash = static_cast<uint32_t>(hash >> 32), .name_at = static_cast<uint32_t>(names_.size()), .site = &site};
  names_.append(host) += '\0';
  ++count_;
}

const Site* HostTable::find(std::string_view host) const {
  return slots_.empty() ? nullptr : slots_[place_of(host, hash_of(host))].site;
}

size_t HostTable::place_of(std::string_view host, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.site == nullptr) return at;
    if (slot.hash != hash >> 32 || host.size() >= names_.size() - slot.name_at) continue;
    const char* name = names_.data() + slot.name_at;
    if (name[host.size()] == '\0' && std::memcmp(name, host.data(), host.size()) == 0) return at;
  }
}

void HostTable::grow() {
  std::vector<Slot> old(slots_.empty() ? SLOTS_MIN : slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.site == nullptr) continue;
    const std::string_view name(names_.data() + slot.name_at);
    slots_[place_of(name, hash_of(name))] = slot;
  }
}

}  // namespace penstock
