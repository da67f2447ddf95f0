// PoolTable: the pools of this server process and the worker processes they have. Control thread only.
//
// It knows no channel and no JSON: src/roles/server.cc brings what the supervisor says and takes what it is to hear.
// Reactors learn of workers through their inboxes and hold them (PoolWorker::users) until they have let go.
#pragma once

#include "src/base/clock.h"
#include "src/server/inbox.h"
#include "src/server/pools/pool_reports.h"
#include "src/server/pools/shared_pool.h"
#include "src/server/snapshot.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// A worker process as the supervisor hands it over.
struct PoolWorkerStart {
  std::string pool;
  uint64_t worker = 0;
  uint32_t epoch = 0;
  bool warm = false;    // it has served before
  uint64_t served = 0;  // so many requests
  UniqueFd server_half;
  UniqueFd worker_half;
  UniqueFd worker_bell;
  std::vector<UniqueFd> server_bells;
};

class PoolTable {
 public:
  // `inboxes`: of the reactors; both outlive this.
  PoolTable(std::vector<std::unique_ptr<Inbox>>& inboxes, Clock& clock) : inboxes_(inboxes), clock_(clock) {}
  PoolTable(const PoolTable&) = delete;
  PoolTable& operator=(const PoolTable&) = delete;

  // Gives every pool of the snapshot its SharedPool (Snapshot::pools, Snapshot::pool_of_route).
  void bind(Snapshot& snapshot);

  // Maps the worker's memory and tells the reactors. Error: memory or bells that make no sense, or no such pool.
  [[nodiscard]] Status add(PoolWorkerStart start);
  // For the simulator: the worker is the other end in this process.
  void add_in_memory(std::string_view pool, uint64_t worker, uint32_t epoch, std::vector<ChannelMemory> channels,
                     std::vector<UniqueFd> server_bells);
  // Nothing more for it; the reactors report IDLE when it is empty. One that is unknown is no error: it has gone.
  void retire(uint64_t worker);
  // The process has ended; `intruded`: for what it tried, so that nothing that was inside is tried again.
  void gone(uint64_t worker, bool intruded = false);
  // Nothing for it until resume(); rested() names it once it is empty.
  void suspend(uint64_t worker);
  void resume(uint64_t worker);
  // Of those to be suspended the ones that have become empty since the last call.
  [[nodiscard]] std::vector<uint64_t> rested();
  void set_service(std::string_view pool, PoolService service);

  // Frees workers that every reactor has let go of. About ten times a second.
  void collect();

  struct Load {
    uint64_t worker = 0;
    uint64_t served = 0;
    uint32_t inside = 0;
    uint64_t idle_ms = 0;
  };
  [[nodiscard]] std::vector<Load> loads() const;

  struct Queue {
    std::string_view pool;
    uint32_t waiting = 0;
  };
  // Of the pools where other many requests wait than at the last call; at first 0 do.
  [[nodiscard]] std::vector<Queue> changed_queues();

 private:
  [[nodiscard]] SharedPool* find_pool(std::string_view name) const;
  SharedPool& pool_named(const std::string& name);
  [[nodiscard]] PoolWorker* find(uint64_t worker) const;
  void add_worker(std::unique_ptr<PoolWorker> worker);
  void tell_all(const ReactorMessage& message);

  std::vector<std::unique_ptr<Inbox>>& inboxes_;
  Clock& clock_;
  std::vector<std::unique_ptr<SharedPool>> pools_;
  std::vector<std::unique_ptr<PoolWorker>> workers_;
  std::vector<std::unique_ptr<PoolWorker>> gone_;  // until no reactor holds them
};

}  // namespace penstock
