#include "src/tls/ticket_rotation.h"

#include "src/base/bytes.h"

#include <algorithm>
#include <cstring>
#include <sys/random.h>

namespace penstock {

Result<bool> TicketRotation::turn(MonoTime now, Duration rotate, Duration lifetime) {
  bool changed = false;
  if (keys_.empty() || now - keys_.front().made >= rotate) {
    Held fresh{.key = {}, .made = now};
    if (::getrandom(&fresh.key, sizeof fresh.key, 0) != static_cast<ssize_t>(sizeof fresh.key)) {
      return fail_errno("a key for session tickets");
    }
    if (!keys_.empty()) keys_.front().retired = now;
    keys_.push_front(fresh);
    changed = true;
  }
  while (keys_.size() > TicketKeys::KEYS_MAX || now - keys_.back().retired >= lifetime) {
    if (keys_.size() == 1) break;
    keys_.pop_back();
    changed = true;
  }
  return changed;
}

bool TicketRotation::clear() {
  const bool changed = !keys_.empty();
  keys_.clear();
  return changed;
}

MonoTime TicketRotation::due(Duration rotate, Duration lifetime) const {
  if (keys_.empty()) return MonoTime::never();
  const MonoTime made_anew = keys_.front().made + rotate;
  return keys_.size() == 1 ? made_anew : std::min(made_anew, keys_.back().retired + lifetime);
}

std::string TicketRotation::text() const {
  constexpr char DIGITS[] = "0123456789abcdef";
  std::string text;
  for (const Held& held : keys_) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(&held.key);
    for (size_t i = 0; i < sizeof held.key; ++i) (text += DIGITS[bytes[i] >> 4]) += DIGITS[bytes[i] & 15];
  }
  return text;
}

std::vector<TicketKey> ticket_keys_of(std::string_view text) {
  constexpr size_t DIGITS = 2 * sizeof(TicketKey);
  std::vector<TicketKey> keys;
  for (; text.size() >= DIGITS; text.remove_prefix(DIGITS)) {
    auto* const bytes = reinterpret_cast<unsigned char*>(&keys.emplace_back());
    for (size_t i = 0; i < sizeof(TicketKey); ++i) {
      const int high = hex_digit(text[2 * i]);
      const int low = hex_digit(text[2 * i + 1]);
      if (high < 0 || low < 0) return {};
      bytes[i] = static_cast<unsigned char>(high * 16 + low);
    }
  }
  return keys;
}

}  // namespace penstock
