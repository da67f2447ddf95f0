// ServerShared: what the reactors of one server process share. Owned by the server role (or by the
// simulator), outlives every reactor. Each part says itself which calls are safe from which thread.
#pragma once

#include "cache/admission.h"
#include "cache/body.h"
#include "cache/fill.h"
#include "cache/ledger.h"
#include "cache/table.h"
#include "cache/validity.h"
#include "src/files/compress.h"
#include "src/server/connection_limiter.h"
#include "src/server/inbox.h"
#include "src/server/snapshot.h"

#include <memory>
#include <vector>

namespace penstock {

class PoolReports;
class PurgeDesk;

struct ServerShared {
  SnapshotStore& snapshots;
  MemoryLedger& ledger;
  ValidityTable& validity;
  BodyStore& bodies;
  CacheTable& cache;
  Admission& admission;
  FillTable& fills;
  CompressQueue& compress;
  ConnectionLimiter& limiter;
  std::vector<std::unique_ptr<Inbox>>& inboxes;  // by reactor
  int control_wake_fd = -1;                      // an eventfd: written when a reactor has done as LOOK told it
  PoolReports* pool_reports = nullptr;           // nullptr: no pools here
  PurgeDesk* purges = nullptr;                   // nullptr: PURGE is refused
};

}  // namespace penstock
