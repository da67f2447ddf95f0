// PlainChannel: one channel's memory without shared memory, for both ends in one process. Each area is an allocation of
// its own, so that a step outside of it is seen by the sanitizer.
#pragma once

#include "pool/ring/segment.h"

#include <memory>
#include <vector>

namespace penstock {

struct PlainChannel {
  explicit PlainChannel(const SegmentShape& shape = {})
      : requests(shape.entries),
        responses(shape.entries),
        server_arena(size_t{shape.chunks} * shape.chunk_bytes),
        worker_arena(shape.arena_bytes),
        memory{.server = &server,
               .cancel = &cancel,
               .requests = requests.data(),
               .server_arena = server_arena.data(),
               .worker = &worker,
               .responses = responses.data(),
               .worker_arena = worker_arena.data(),
               .entries = shape.entries,
               .exchanges_max = shape.exchanges_max,
               .chunk_bytes = shape.chunk_bytes,
               .chunks = shape.chunks,
               .arena_bytes = shape.arena_bytes} {}
  PlainChannel(const PlainChannel&) = delete;
  PlainChannel& operator=(const PlainChannel&) = delete;

  penstock_server_page server{};
  penstock_cancel_page cancel{};
  penstock_worker_page worker{};
  std::vector<penstock_descriptor> requests;
  std::vector<penstock_descriptor> responses;
  std::vector<unsigned char> server_arena;
  std::vector<unsigned char> worker_arena;
  ChannelMemory memory;
};

}  // namespace penstock
