// The worlds of the conformance suite with TLS on top: the same suite, spoken encrypted.
#pragma once

#include "tests/unit/transport/world.h"

#include <memory>

namespace penstock::test {

// TlsTransport over the transport of `inner`; its peers speak TLS over the peers of `inner`. `with_kernel`: what is
// sent is sealed by a fake kernel in between.
[[nodiscard]] std::unique_ptr<World> make_tls_world(std::unique_ptr<World> inner, const TransportOptions& options,
                                                    bool with_kernel);

}  // namespace penstock::test
