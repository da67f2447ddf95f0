// SimWorld: a whole server on one thread: reactors, cache, journal and files, over fakes of the seams.
//
// Real: everything in src/server, http, cache, route, config, log. Fake: transport, clock, files.
// One seed decides everything; step() lets one reactor turn and moves the clock.
#pragma once

#include "src/files/compress.h"
#include "src/log/journal_memory.h"
#include "src/server/pools/pool_reports.h"
#include "src/server/pools/pool_table.h"
#include "src/server/reactor.h"
#include "src/tls/tls_transport.h"
#include "tests/sim/sim_wire.h"
#include "tests/support/fake_kernel_tls.h"
#include "tests/support/hand_clock.h"
#include "tests/support/memory_file_reader.h"
#include "tests/support/sim_transport.h"
#include "tests/support/tls_world.h"

#include <memory>
#include <string>
#include <vector>

namespace penstock {

struct SimOptions {
  uint64_t seed = 0;
  uint32_t reactors = 1;
  SimFaults transport;
  FileFaults files;
  std::string config;  // whole text
  uint32_t connections_max = 64;
  SimProtocol protocol = SimProtocol::PLAIN;
  bool kernel_tls = false;  // a fake kernel seals what is sent over TLS
};

class SimWorld {
 public:
  static constexpr uint32_t LISTENER = 1;

  explicit SimWorld(const SimOptions& options);
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  // Every reactor turns once, in an order of the seed's; the clock moves a little.
  void step();
  void advance(Duration by) { clock_.advance(by); }
  // A new generation of the config, for all reactors.
  void apply(const std::string& config);
  void stop_faults();
  void drain();
  // The pools of the configuration, their workers and what reactors say of them: driven by tests/sim/sim_pools.
  [[nodiscard]] PoolTable& pools() { return pools_; }
  [[nodiscard]] PoolReports& pool_reports() { return *pool_reports_; }
  [[nodiscard]] const Counters& counters(uint32_t reactor) const { return nodes_[reactor]->map->counters(); }
  [[nodiscard]] uint32_t open_requests() const;  // journal slots in use
  // A worker has rung at that reactor.
  void ring(uint32_t reactor) { rung_[reactor] = true; }

  // A new connection of a client, as the world's protocol has it.
  [[nodiscard]] std::unique_ptr<SimWire> connect(uint32_t reactor, const PeerAddress& peer) {
    return make_sim_wire(protocol_, transport(reactor), LISTENER, peer);
  }
  [[nodiscard]] SimProtocol protocol() const { return protocol_; }
  [[nodiscard]] SimTransport& transport(uint32_t reactor) { return *nodes_[reactor]->transport; }
  [[nodiscard]] uint32_t reactors() const { return static_cast<uint32_t>(nodes_.size()); }
  [[nodiscard]] MemoryTree& tree() { return tree_; }
  [[nodiscard]] HandClock& clock() { return clock_; }
  [[nodiscard]] CacheTable& cache() { return *cache_; }
  [[nodiscard]] uint64_t file_errors() const;

  // Of the records of finished requests that are still in the rings: how many, and what is wrong with their times.
  [[nodiscard]] uint64_t check_times(std::vector<std::string>& wrong);
  // What is wrong once every client is done: breaches of seams, things still lent, records missing. Empty: nothing.
  [[nodiscard]] std::vector<std::string> faults_at_end(uint64_t requests_at_least);

 private:
  struct Node {
    JournalMemory memory;
    std::unique_ptr<JournalMap> map;
    std::unique_ptr<Journal> journal;
    std::unique_ptr<SimTransport> transport;
    std::unique_ptr<test::TlsParts> tls_parts;
    std::unique_ptr<test::FakeKernelTls> kernel;
    std::unique_ptr<TlsTransport> tls;  // on `transport`, where the protocol has it
    std::unique_ptr<Transport> http2;   // on both
    [[nodiscard]] Transport& below_http2() const { return tls != nullptr ? static_cast<Transport&>(*tls) : *transport; }
    [[nodiscard]] Transport& top() const { return http2 != nullptr ? *http2 : below_http2(); }
    std::unique_ptr<MemoryFileReader> reader;
    std::unique_ptr<Loader> loader;
    UniqueFd compress_wake;
    std::unique_ptr<Reactor> reactor;
  };
  void make_node(uint32_t index, const SimOptions& options);
  void make_layers(Node& node, const TransportOptions& options, bool kernel_tls);
  void publish(const std::string& config);
  void wake_who_was_called();

  Prng prng_;
  SimProtocol protocol_;
  HandClock clock_;
  MemoryTree tree_;
  MimeTypes types_{"text/html html\ntext/plain txt\nimage/png png\n"};
  uint64_t generation_ = 0;
  std::unique_ptr<SnapshotStore> snapshots_;
  MemoryLedger ledger_;
  ValidityTable validity_{4096};
  std::unique_ptr<BodyStore> bodies_;
  std::unique_ptr<CacheTable> cache_;
  Admission admission_;
  FillTable fills_{256, 1024};
  ConnectionCounts connections_ = *ConnectionCounts::create(4096, 7);
  ConnectionLimiter limiter_{connections_, 0};
  std::vector<std::unique_ptr<Inbox>> inboxes_;
  std::unique_ptr<PoolReports> pool_reports_;
  PoolTable pools_{inboxes_, clock_};
  std::vector<bool> rung_;
  MemoryWatch watch_{tree_, validity_};
  std::unique_ptr<CompressQueue> compress_;
  std::unique_ptr<ServerShared> shared_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace penstock
