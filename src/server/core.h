// Core: what all the rooms of one reactor work with: its parts, its pools and the turn's time.
//
// Owned by the Reactor, one thread. Rooms: connection (bytes to requests and back), walk (the steps
// of an exchange), steps/*. None of them keeps state of its own beyond Connection and Exchange.
#pragma once

#include "src/base/clock.h"
#include "src/base/fixed_pool.h"
#include "src/base/timer_wheel.h"
#include "src/files/loader.h"
#include "src/log/journal.h"
#include "src/server/compress_desk.h"
#include "src/server/connection.h"
#include "src/server/exchange.h"
#include "src/server/outgoing.h"
#include "src/server/shared.h"
#include "src/transport/transport.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace penstock {

class PoolBridge;

struct ReactorLimits {
  uint32_t connections_max = 16'384;  // open or not yet wholly gone
  // Bodies up to this size are copied behind their head: less where the transport sends memory as it is (SC13).
  size_t copy_max = Outgoing::COPY_MAX;
};

struct Core {
  Core(uint32_t reactor, Transport& its_transport, FileReader& its_reader, Loader& its_loader, Journal& its_journal,
       Counters& its_counters, Clock& its_clock, ServerShared& with_others, const ReactorLimits& its_limits);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  void pin_config(const Snapshot& snapshot) { snapshot.pins[index].count.fetch_add(1, std::memory_order_relaxed); }
  // Release: what was read of the snapshot was read before the control thread sees the pin gone.
  void unpin_config(const Snapshot& snapshot) { snapshot.pins[index].count.fetch_sub(1, std::memory_order_release); }

  const uint32_t index;
  const ReactorLimits limits;
  Transport& transport;
  FileReader& reader;
  Loader& loader;
  Journal& journal;
  Counters& counters;
  Clock& clock;
  ServerShared& shared;

  const Snapshot* config = nullptr;  // of this turn
  MonoTime now;                      // of this turn, read once
  TurnClock turn_clock;              // for the moments of requests alone
  [[nodiscard]] MonoTime moment() const { return turn_clock.at(clock.ticks()); }
  std::array<char, DATE_BYTES> date{};  // IMF-fixdate of this second
  bool draining = false;
  std::vector<uint32_t> listeners_gone;  // leaving.h; the last ones

  TimerWheel wheel;
  FixedPool<Connection> connections;
  FixedPool<Exchange> exchanges;  // one for each connection, one spare, and those that outlive theirs
  FixedPool<Outgoing> outgoings;
  Exchange* spare = nullptr;            // the next exchange, whose head a parser may be filling
  std::vector<Connection*> by_handle;   // open connections by Handle::index of the transport
  std::vector<Connection*> flush_list;  // connections with answers of this turn
  CompressDesk compress;                // hot entries that wait for their compressed variants
  WallTime wall;                        // of this turn
  std::unique_ptr<PoolBridge> pools;    // never null
};

}  // namespace penstock
