// The worker process's side of things: descriptors, channels, the loop. Behind penstock_worker. One thread at a time:
// whoever holds `turn_mutex`; post() is for all. Everything of an exchange is in exchange.cc.
//
// Two may wait for the doorbell: the thread of penstock_worker_run(), and one that helps. Each has a bed of its own
// (src/base/doorbell.h), exclusively woken, the helper's first: so one of them wakes, the helper where it waits, and
// neither takes an event that the other was woken for. The server's bell hangs in both, where this process cannot
// touch it; its own `bell` beside it.
#pragma once

#include "pool/sdk/exchange.h"
#include "src/base/adaptive_spin.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace penstock {

struct SdkChannel {
  SdkChannel(const ChannelMemory& memory, UniqueFd server_bell, uint32_t version_max)
      : link(memory, version_max), bell(std::move(server_bell)), exchanges(memory.exchanges_max) {}
  WorkerLink link;
  UniqueFd bell;  // the reactor's: rung when it sleeps
  std::vector<penstock_exchange> exchanges;
  std::vector<penstock_exchange*> busy;  // with something pending, or pieces to hand out
  std::vector<penstock_exchange*> due;   // of busy, while they are advanced: kept, so that no turn allocates
  bool starving = false;                 // a send found no room
  std::optional<uint64_t> pong_owed;     // the serial of a PING that is not answered yet
};

// Sends what is pending and hands out body, as far as rings, window and the application allow.
void sdk_advance(penstock_exchange& exchange);
// The exchange is over, whoever said so; its slot waits for the next.
void sdk_finish(penstock_exchange& exchange);
// Tells the application, if it still has the exchange.
void sdk_cancel(penstock_exchange& exchange, penstock_why_cancelled why);
void sdk_list(penstock_exchange& exchange);
// The application is done with it: what goes out last, now or as soon as there is room.
void sdk_end_with(penstock_exchange& exchange, SdkPending what);
// Filters (filter.cc): one is asked; its hook is called, or it passes where there is none.
void sdk_filter_came(penstock_exchange& exchange, const WorkerEvent& event);
// Whether its verdict is out.
[[nodiscard]] bool sdk_send_verdict(penstock_exchange& exchange);
// A text, and fields, of a block of the ABI. Of the value: the first of that name, whatever its case; data 0: none.
[[nodiscard]] penstock_string sdk_text(const void* block, penstock_text text);
[[nodiscard]] penstock_header sdk_field(const void* block, uint32_t fields_at, size_t number);
[[nodiscard]] penstock_string sdk_field_value(const void* block, uint32_t fields_at, size_t count, const char* name);
// penstock_worker_step(). `hushes`: fd() is emptied, as who polls it expects; who takes each ring as an event does
// without.
int sdk_step(penstock_worker& worker, bool hushes);

}  // namespace penstock

struct penstock_worker {
  penstock_callbacks callbacks{};
  void* context = nullptr;
  penstock::Segment segment;
  penstock::UniqueFd bell;  // for posts, and to come back soon: hangs in both beds
  std::vector<std::unique_ptr<penstock::SdkChannel>> channels;
  uint32_t open_exchanges = 0;
  uint32_t stops = 0;  // channels that have said STOP
  bool told_stopping = false;
  bool resumed = false;  // an exchange was, whose body may be here: no message will tell of it
  bool over = false;     // stopped, and nothing is open

  std::mutex turn_mutex;  // guards all above but `bell`
  penstock::AdaptiveSpin spin;
  penstock::UniqueFd helper_bed;  // of who helps; also penstock_worker_fd()
  penstock::UniqueFd bed;         // of penstock_worker_run()
  penstock::UniqueFd nudge;       // hangs in the helper's

  std::mutex post_mutex;
  std::vector<std::pair<void (*)(void*), void*>> posts;
  bool asleep = true;  // the bell is to be rung for a post: it waits, or has not begun

  // Everything there is to do now. False: over.
  bool turn(bool& did_something);
  // Turns until there is nothing to do; with `once` only until something was done. Then may_wait() has held. False:
  // over. REQUIRES: turn_mutex held.
  bool settle(bool once, bool& did_something);
  // Before waiting in a bed: false if there is something to do after all.
  bool may_wait();
  void awake();
};
