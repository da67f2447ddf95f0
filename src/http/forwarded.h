// Forwarded (RFC 7239) and X-Forwarded-For: the addresses that proxies say they had their requests from. Pure; any
// thread.
//
// Read from the right, where the proxy that is nearest wrote: what is to the left of it may come from anybody, and
// cannot change how the right is understood.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace penstock {

struct HopAddress {
  bool v4 = false;
  std::array<uint8_t, 16> ip{};  // network order; IPv4 as ::ffff:a.b.c.d
  uint16_t port = 0;             // 0: not said
  bool operator==(const HopAddress&) const = default;
};

enum class HopState : uint8_t {
  ADDRESS,
  END,     // nothing is left
  UNKNOWN  // "unknown", a hidden name, or nothing that can be understood: what is further left is as good as unsaid
};

// The last element of a field's value, which it takes off `value`. Empty elements are passed over (RFC 9110 section
// 5.6.1).
[[nodiscard]] HopState take_hop_of_forwarded(std::string_view& value, HopAddress& hop);
[[nodiscard]] HopState take_hop_of_x_forwarded_for(std::string_view& value, HopAddress& hop);

// "192.0.2.1", "192.0.2.1:80", "2001:db8::1" (where `bare_v6`), "[2001:db8::1]", "[2001:db8::1]:80".
[[nodiscard]] bool read_hop_address(std::string_view text, bool bare_v6, HopAddress& hop);

}  // namespace penstock
