// The world of the conformance suite past the kernel: EngineTransport at one end of a wire, clients on a second engine
// at the other. The clock is moved by hand, from one thing that happens to the next; no DPDK.
#pragma once

#include "tests/support/sim_link.h"
#include "tests/unit/transport/world.h"

#include <memory>

namespace penstock {
class EngineTransport;
}

namespace penstock::test {

class EngineWorld : public World {
 public:
  // The transport itself, for what the seam does not tell.
  [[nodiscard]] virtual EngineTransport& engine() = 0;
  [[nodiscard]] virtual SimLink& link() = 0;
};

// A wire with the faults of `link`, from `seed`; no listener yet.
[[nodiscard]] std::unique_ptr<EngineWorld> make_engine_world(const TransportOptions& options, uint64_t seed,
                                                             const LinkOptions& link);

}  // namespace penstock::test
