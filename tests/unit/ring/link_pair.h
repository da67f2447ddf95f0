// LinkPair: both ends of one channel in plain memory, small enough that every limit is near.
#pragma once

#include "pool/ring/server_link.h"
#include "pool/ring/worker_link.h"
#include "tests/support/plain_channel.h"

namespace penstock {

inline constexpr SegmentShape SHAPE{
    .entries = 64, .exchanges_max = 4, .chunk_bytes = 4'096, .chunks = 10, .arena_bytes = 16'384};
inline constexpr LinkLimits LIMITS{
    .window_bytes = 8'192, .upload_chunks_max = 4, .head_bytes_max = 4'096, .fields_max = 16};

struct LinkPair {
  PlainChannel channel{SHAPE};
  ServerLink server{channel.memory, 1, LIMITS};
  WorkerLink worker{channel.memory};

  // The worker is ready and has heard of one exchange.
  Handle open(const RequestFrame& frame) {
    WorkerEvent heard;
    LinkEvent event;
    ASSERT(worker.next(heard) && !worker.flush() && server.next(event) && !server.request_room().empty());
    const Handle exchange = server.begin(frame);
    ASSERT(!server.flush() && worker.next(heard));
    return exchange;
  }
  // A descriptor that no honest worker would write.
  void write(const penstock_descriptor& descriptor) {
    channel.responses[channel.worker.response_tail++ % SHAPE.entries] = descriptor;
  }
};

}  // namespace penstock
