// NetEvent: what an engine tells the floor above it. Handed out in batches by NetStack::poll(); the order is that of
// one connection.
#pragma once

#include "src/base/handle.h"

#include <cstdint>

namespace penstock {

enum class NetEventKind : uint8_t {
  ACCEPTED,     // a connection on listener `id`; the only event of it in this batch
  CONNECTED,    // what connect() began is established
  RECEIVED,     // `data`/`size` (never 0), in `buffer`, which release() gives back
  PEER_CLOSED,  // the peer's FIN: nothing more is received; sending goes on
  SENT,         // all of the send with `token` is acknowledged, its memory is free
  FAILED,       // the connection is dead (`error`: ECONNRESET, ETIMEDOUT, ECONNREFUSED), all its memory is free; only
                // close() is left
  CLOSED,       // after close() or reset() that returned true: all its memory is free; the last event
};

struct NetEvent {
  Handle conn;
  void* context = nullptr;
  const uint8_t* data = nullptr;
  uint64_t token = 0;
  uint32_t size = 0;
  uint32_t buffer = 0;
  uint32_t id = 0;
  int32_t error = 0;
  NetEventKind kind = NetEventKind::FAILED;
};
static_assert(sizeof(NetEvent) <= 64);

// A part of what is to be sent: memory that stays as it is until SENT, FAILED or CLOSED.
struct NetPart {
  const void* data = nullptr;
  uint32_t size = 0;  // > 0
  // Sums of the memory's consecutive strides, the last one maybe shorter, made once beforehand (SC13): segments are cut
  // at strides and their sums taken from here, where the port does not make checksums itself. A stride that is larger
  // than a segment may be is of no use. Lives as long as the memory.
  const uint16_t* sums = nullptr;
  uint32_t stride = 0;
};

}  // namespace penstock
