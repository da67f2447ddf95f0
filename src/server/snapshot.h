// Snapshot: one generation of the config in the form the reactors use it.
//
// Made by the server's control thread, immutable after, shared by all reactors without a lock. A
// reactor looks for a newer one between turns; an exchange that must wait keeps the one it began
// with. The control thread destroys a snapshot when every reactor has moved on and no exchange
// pins it (SnapshotStore::collect).
#pragma once

#include "src/base/clock.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"
#include "src/config/tree.h"
#include "src/files/loader.h"
#include "src/files/mime.h"
#include "src/http/request_parser.h"
#include "src/http/response_head.h"
#include "src/http/target.h"
#include "src/route/route_table.h"
#include "src/server/https_redirect.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace penstock {

struct SharedPool;

struct Snapshot {
  // `types` outlives it.
  Snapshot(const Tree& tree, uint32_t reactors, const MimeTypes& types);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  const Settings settings;
  const RouteTable routes;
  const uint64_t generation;
  // What a cached entry depends on: moves only when a key changed that can change an answer, so
  // that tuning a timeout does not empty the cache.
  uint64_t serving_generation = 0;
  ParseLimits head_limits;
  DecodeRules decode_rules;
  Patience patience;                           // with clients that no site has answered yet
  ServerHeaderMode server_header;              // server.header
  std::vector<HttpsRedirect> https_redirects;  // by Site::number; empty where no site redirects
  std::string refusal;                         // the whole 503 for a connection over a limit
  std::vector<UniqueFd> root_fds;              // O_PATH, by Route::root_index; -1 where the root could not be opened

  // What the loader must know of a route; by Route::number.
  struct Serving {
    RootDir root;
    LoadPolicy html;
    LoadPolicy json;  // the same but for the form of listings
  };
  std::vector<Serving> serving;
  // Routes that agree in them share one: it is as large as the system's list.
  std::map<std::pair<std::string, std::string>, MimeTable> mime_tables;  // by default type and charset

  // Given by PoolTable::bind(); both stay empty where there is none (the simulator without pools).
  std::vector<const PoolSettings*> pools;  // by SharedPool::number; nullptr: this generation has it no more
  std::vector<SharedPool*> pool_of_route;  // by Route::number; nullptr: not a route to a pool
  std::vector<std::vector<SharedPool*>> filters_of_route;  // likewise

  // Exchanges of reactor r that began under this snapshot and are not finished. One writer each.
  struct alignas(64) Pins {
    std::atomic<uint32_t> count{0};
  };
  mutable std::vector<Pins> pins;
};

// The current snapshot and the old ones still in use. publish() and collect() on the control
// thread; current() from any thread.
class SnapshotStore {
 public:
  explicit SnapshotStore(uint32_t reactors) : seen_(reactors) {}

  void publish(std::unique_ptr<Snapshot> next);
  [[nodiscard]] const Snapshot* current() const { return current_.load(std::memory_order_acquire); }

  // Called by reactor `reactor` between turns: takes over the newest. Pairs with collect().
  const Snapshot* adopt(uint32_t reactor) {
    const Snapshot* newest = current();
    seen_[reactor].snapshot.store(newest, std::memory_order_release);
    return newest;
  }

  // Every reactor works with the current one.
  [[nodiscard]] bool adopted_by_all() const;
  // Destroys what nobody uses any more. Returns how many old snapshots remain.
  size_t collect();

 private:
  struct alignas(64) Seen {
    std::atomic<const Snapshot*> snapshot{nullptr};
  };
  std::atomic<const Snapshot*> current_{nullptr};
  std::vector<Seen> seen_;
  std::vector<std::unique_ptr<Snapshot>> all_;  // newest last; control thread only
};

// Opens the roots of `snapshot` (O_PATH|O_DIRECTORY). A root that cannot be opened keeps -1 and is
// named in the returned lines, one each; its routes answer 500 with their own sub-status.
[[nodiscard]] std::vector<std::string> open_roots(Snapshot& snapshot);

// Equal for two trees iff no key differs that can change the bytes of an answer.
[[nodiscard]] uint64_t serving_fingerprint(const Tree& tree);

}  // namespace penstock
