// The header of the PROXY protocol (haproxy's proxy-protocol.txt), versions 1 and 2, by which a proxy says before
// anything else whose connection it passes on. Pure; any thread.
//
// Read strictly: what the protocol does not allow is BAD, since bytes that are taken for a header, or a header that is
// taken for bytes of the client, is how somebody passes for somebody else.
#pragma once

#include "src/transport/transport.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

// Longest header that is read: a v1 line has at most 107 bytes, and v2 with its extensions is held to this.
inline constexpr size_t PROXY_HEADER_BYTES_MAX = 2'048;

struct ProxyHeader {
  size_t bytes = 0;    // of the whole header
  bool says = false;   // false: LOCAL, UNKNOWN or UNSPEC: the connection is the proxy's own, as far as is known
  PeerAddress client;  // where it `says`
  PeerAddress server;
};

enum class ProxyState : uint8_t { NEED_MORE, BAD, DONE };

// `bytes` from the first of the connection on. DONE fills in `header`.
[[nodiscard]] ProxyState parse_proxy_header(std::string_view bytes, ProxyHeader& header);

}  // namespace penstock
