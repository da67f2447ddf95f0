// TicketKeys: what session tickets are sealed with (RFC 5077 section 4); shared by all reactors of a server.
//
// The supervisor makes the keys and keeps them, so that tickets outlive a server process and a keyd. The first of the
// list seals; all open. Rotation: a new key first, the last one dropped. Any thread; a short lock for each ticket,
// which is cheap beside the handshake that it belongs to.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct TicketKey {
  std::array<unsigned char, 16> name;
  std::array<unsigned char, 32> cipher;  // AES-256-CBC
  std::array<unsigned char, 32> mac;     // HMAC-SHA-256
  bool operator==(const TicketKey&) const = default;
};
static_assert(sizeof(TicketKey) == 80);

class TicketKeys {
 public:
  static constexpr size_t KEYS_MAX = 8;

  // The newest first; of more than KEYS_MAX the oldest are left out. None: no tickets are given out, none are accepted.
  void set(std::span<const TicketKey> keys);
  [[nodiscard]] bool any() const;
  [[nodiscard]] bool newest(TicketKey& out) const;
  // Whether a key of that name is known, and whether it is the newest: else the client gets a new ticket.
  enum class Found : uint8_t { NO, YES, OLD };
  [[nodiscard]] Found find(const unsigned char* name, TicketKey& out) const;

 private:
  mutable std::mutex mutex_;
  std::vector<TicketKey> keys_;
};

}  // namespace penstock
