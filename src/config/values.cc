#include "src/config/values.h"

#include "src/base/assert.h"

#include <algorithm>
#include <arpa/inet.h>
#include <fmt/format.h>

namespace penstock {

#define CONFIG_WORD(name, ident, word) {name::ident, word},
#define CONFIG_ENUM(name, words)                       \
  template <>                                          \
  std::span<const EnumWord<name>> enum_words<name>() { \
    static constexpr EnumWord<name> WORDS[] = {words}; \
    return WORDS;                                      \
  }                                                    \
  std::string_view to_text(name value) { return enum_words<name>()[static_cast<size_t>(value)].word; }
#include "src/config/enums.def"

std::string to_text(const ListenAddress& address) {
  char text[INET6_ADDRSTRLEN] = {};
  switch (address.kind) {
    case ListenAddress::Kind::IPV4:
      ASSERT(inet_ntop(AF_INET, address.ip.data(), text, sizeof text) != nullptr);
      return fmt::format("{}:{}", text, address.port);
    case ListenAddress::Kind::IPV6:
      ASSERT(inet_ntop(AF_INET6, address.ip.data(), text, sizeof text) != nullptr);
      return fmt::format("[{}]:{}", text, address.port);
    case ListenAddress::Kind::UNIX_PATH:
      return "unix:" + address.name;
    case ListenAddress::Kind::UNIX_ABSTRACT:
      return "unix:@" + address.name;
  }
  return {};
}

namespace {

constexpr std::array<uint8_t, 12> IPV4_MAPPED = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

bool AddressRange::contains(bool is_unix, const std::array<uint8_t, 16>& address) const {
  if (unix_peers || is_unix) return unix_peers && is_unix;
  const size_t whole = bits / 8;
  if (!std::equal(ip.begin(), ip.begin() + whole, address.begin())) return false;
  const auto mask = static_cast<uint8_t>(0xff00 >> bits % 8);
  return bits % 8 == 0 || ((ip[whole] ^ address[whole]) & mask) == 0;
}

std::string to_text(const AddressRange& range) {
  if (range.unix_peers) return "unix";
  char text[INET6_ADDRSTRLEN] = {};
  const bool v4 = range.bits >= 96 && std::equal(IPV4_MAPPED.begin(), IPV4_MAPPED.end(), range.ip.begin());
  ASSERT(inet_ntop(v4 ? AF_INET : AF_INET6, range.ip.data() + (v4 ? 12 : 0), text, sizeof text) != nullptr);
  if (range.bits == 128) return text;
  return fmt::format("{}/{}", text, range.bits - (v4 ? 96 : 0));
}

}  // namespace penstock
