// The parts of a ServerProcess, for its own .cc files only.
//
// Invariant: a member uses only members above it, so destruction in reverse order is right.
#pragma once

#include "src/files/inotify_watch.h"
#include "src/files/thread_file_reader.h"
#include "src/server/dpdk.h"
#include "src/server/pools/pool_table.h"
#include "src/server/process.h"
#include "src/server/purge_desk.h"
#include "src/server/tls_layer.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace penstock {

// What belongs to one reactor.
struct ReactorSet {
  std::unique_ptr<JournalMap> map;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Transport> transport;  // the kernel's
  std::unique_ptr<Transport> proxied;    // the PROXY protocol on it
  std::unique_ptr<Transport> layered;    // TLS on that; nullptr: there is none
  std::unique_ptr<Transport> http2;      // on both; nullptr: not in this build
  [[nodiscard]] Transport& below_http2() const { return layered != nullptr ? *layered : *proxied; }
  [[nodiscard]] Transport& top() const { return http2 != nullptr ? *http2 : below_http2(); }
  std::unique_ptr<FileReader> reader;
  std::unique_ptr<Loader> loader;
  UniqueFd compress_wake;
  std::unique_ptr<Reactor> reactor;
  std::vector<Status> start_error;  // at most one
  std::atomic<bool> running{false};
  std::thread thread;
};

struct ServerProcess::Parts {
  Parts(const Settings& settings, uint32_t reactor_count, uint64_t seed, ConnectionCounts connections, uint32_t place);

  RealClock clock;
  MimeTypes types = MimeTypes::load();
  SnapshotStore snapshots;
  MemoryLedger ledger;
  ValidityTable validity;
  BodyStore bodies;
  CacheTable cache;
  Admission admission;
  FillTable fills;
  ConnectionCounts connections;
  ConnectionLimiter limiter;
  std::vector<std::unique_ptr<Inbox>> inboxes;
  std::unique_ptr<PoolReports> pool_reports;
  PoolTable pools{inboxes, clock};
  std::unique_ptr<InotifyWatch> watch;
  std::unique_ptr<CompressQueue> compress;
  std::unique_ptr<FileWorker> worker;
  std::unique_ptr<ServerShared> shared;
  std::unique_ptr<DpdkServerPort> port;  // only with server.transport = dpdk
  std::unique_ptr<TlsLayer> tls;         // nullptr: server.listen_tls named nothing when the process started
  std::vector<std::unique_ptr<ReactorSet>> reactors;
  std::vector<ServerListener> listeners;
  std::vector<UniqueFd> retired_listeners;
  std::unique_ptr<PurgeDesk> purges;
  UniqueFd control_wake;  // eventfd: a reactor has looked
  std::thread watch_thread;
  std::thread compress_thread;
  uint64_t fingerprint = 0;
  uint64_t serving_generation = 0;

  void publish(const Tree& tree, std::vector<std::string>& notes);
  Status prepare_reactor(uint32_t index, const Settings& settings, const ServerOptions& options,
                         std::vector<std::string>& notes);
  void post_all(ReactorMessage::Kind kind) {
    ReactorMessage message;
    message.kind = kind;
    for (auto& inbox : inboxes) inbox->post(message);
  }
  // Waits until a reactor has looked, or until `patience`; false when that is over.
  bool await_reactor(MonoTime patience);
  void run_reactor(ReactorSet& set, const std::vector<uint32_t>& cpus, uint32_t index);
};

}  // namespace penstock
