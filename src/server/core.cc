#include "src/server/core.h"

#include "src/server/pools/pool_bridge.h"

namespace penstock {

Core::Core(uint32_t reactor, Transport& its_transport, FileReader& its_reader, Loader& its_loader, Journal& its_journal,
           Counters& its_counters, Clock& its_clock, ServerShared& with_others, const ReactorLimits& its_limits)
    : index(reactor),
      limits(its_limits),
      transport(its_transport),
      reader(its_reader),
      loader(its_loader),
      journal(its_journal),
      counters(its_counters),
      clock(its_clock),
      shared(with_others),
      now(its_clock.now()),
      wheel(now),
      connections(its_limits.connections_max),
      exchanges(2 * its_limits.connections_max + 1),
      outgoings(2 * its_limits.connections_max + 1),
      pools(std::make_unique<PoolBridge>(*this)) {}

Core::~Core() = default;

}  // namespace penstock
