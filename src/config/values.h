// The value types that settings have beyond numbers and text: enumerations (from enums.def),
// listen addresses, named values. Plain data; no I/O. Every process and thread may use them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

#define CONFIG_WORD(name, ident, word) ident,
#define CONFIG_ENUM(name, values) enum class name : uint8_t { values };
#include "src/config/enums.def"

template <class E>
struct EnumWord {
  E value;
  std::string_view word;  // as the config file writes it
};

// All values of an enumeration of settings, in the order of enums.def.
template <class E>
std::span<const EnumWord<E>> enum_words();

#define CONFIG_ENUM(name, values)                     \
  template <>                                         \
  std::span<const EnumWord<name>> enum_words<name>(); \
  std::string_view to_text(name value);
#include "src/config/enums.def"

// One address that the supervisor listens on.
struct ListenAddress {
  enum class Kind : uint8_t { IPV4, IPV6, UNIX_PATH, UNIX_ABSTRACT };

  Kind kind = Kind::IPV4;
  uint16_t port = 0;                // IPV4, IPV6: host order; 0 lets the kernel choose one
  std::array<uint8_t, 16> ip = {};  // network order; IPv4 uses the first four bytes
  std::string name;                 // UNIX_PATH: absolute path; UNIX_ABSTRACT: name without the leading NUL

  bool operator==(const ListenAddress&) const = default;
};

// Clients by address.
struct AddressRange {
  bool unix_peers = false;          // whoever comes by a unix socket
  std::array<uint8_t, 16> ip = {};  // network order; IPv4 as ::ffff:a.b.c.d
  uint8_t bits = 128;               // of `ip` that count

  [[nodiscard]] bool contains(bool is_unix, const std::array<uint8_t, 16>& address) const;
  bool operator==(const AddressRange&) const = default;
};

// "192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "unix"; parses back to the same range.
std::string to_text(const AddressRange& range);

// "192.0.2.1:80", "[2001:db8::1]:80", "unix:/run/x.sock", "unix:@name"; parses back to the same address.
std::string to_text(const ListenAddress& address);

// An address of an interface: "192.0.2.1/24", "2001:db8::1/64"; without its bits where a single host is meant.
struct InterfaceAddress {
  bool v6 = false;
  uint8_t prefix_bits = 0;
  std::array<uint8_t, 16> ip = {};  // network order; IPv4 uses the first four bytes

  bool operator==(const InterfaceAddress&) const = default;
};

// One entry of a named map: a response header, an error page, a MIME type.
struct NamedValue {
  std::string name;
  std::string value;

  bool operator==(const NamedValue&) const = default;
};

}  // namespace penstock
