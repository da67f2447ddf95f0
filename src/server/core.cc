#include "src/server/core.h"

#include "src/server/pools/pool_bridge.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr size_t FLUSHED_BEFOREHAND = 4096;  // a turn with more answers than any before it allocates beyond that

}  // namespace

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
      pools(std::make_unique<PoolBridge>(*this)) {
  // Room that costs no memory until it is used, so that a busier turn than ever allocates nothing.
  by_handle.reserve(its_limits.connections_max);
  flush_list.reserve(std::min<size_t>(its_limits.connections_max, FLUSHED_BEFOREHAND));
}

Core::~Core() = default;

}  // namespace penstock
