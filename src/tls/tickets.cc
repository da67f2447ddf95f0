#include "src/tls/tickets.h"

#include <algorithm>
#include <cstring>

namespace penstock {

void TicketKeys::set(std::span<const TicketKey> keys) {
  const std::lock_guard lock(mutex_);
  keys = keys.first(std::min(keys.size(), KEYS_MAX));
  keys_.assign(keys.begin(), keys.end());
}

bool TicketKeys::any() const {
  const std::lock_guard lock(mutex_);
  return !keys_.empty();
}

bool TicketKeys::newest(TicketKey& out) const {
  const std::lock_guard lock(mutex_);
  if (keys_.empty()) return false;
  out = keys_.front();
  return true;
}

TicketKeys::Found TicketKeys::find(const unsigned char* name, TicketKey& out) const {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (std::memcmp(keys_[i].name.data(), name, keys_[i].name.size()) != 0) continue;
    out = keys_[i];
    return i == 0 ? Found::YES : Found::OLD;
  }
  return Found::NO;
}

}  // namespace penstock
