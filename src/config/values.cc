#include "src/config/values.h"

#include "src/base/assert.h"

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

}  // namespace penstock
