// Http2Options: what the HTTP/2 layer of a transport is held to. Live; each the largest value allowed.
#pragma once

#include <cstdint>

namespace penstock {

struct Http2Options {
  bool cleartext = false;                      // take the preface on connections without TLS, too
  uint32_t streams = 100;                      // open at once on one connection; one more is refused (REFUSED_STREAM)
  uint32_t stream_window_bytes = 65'536;       // of a request's body that is not consumed yet, of one stream
  uint32_t connection_window_bytes = 262'144;  // the same of all streams of a connection
  uint32_t head_bytes = 16'384;                // the parser above says 431 to more; four times it ends the connection
  uint32_t control_frames = 2'000;             // in ten seconds, that carry no request and no body: see H2Budget
  uint32_t resets = 500;                       // streams in ten seconds that the peer resets, or makes us reset
  bool operator==(const Http2Options&) const = default;
};

}  // namespace penstock
