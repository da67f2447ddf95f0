// Segment: the memory between the server and one worker process, made and mapped (layout: pool/abi/worker_abi.h).
//
// The supervisor makes one for each process that it starts, keeps the descriptors while the process lives, and gives
// the server and the worker what each may have: the worker holds the server's half read-only, the server the worker's.
// A process that is replaced takes its segment with it: nothing in it is ever cleaned or used again.
#pragma once

#include "pool/abi/worker_abi.h"
#include "src/base/result.h"
#include "src/base/shared_memory.h"

#include <cstdint>

namespace penstock {

// The geometry, in the terms of penstock_segment. Memory is only what was touched.
struct SegmentShape {
  uint32_t channels = 1;
  uint32_t entries = 256;
  uint32_t exchanges_max = 64;
  uint32_t chunk_bytes = 16 * 1'024;  // a request's head, with the first bytes of its body, must fit
  uint32_t chunks = 256;              // 4 MiB: heads of exchanges_max requests, the rest for bodies under way
  uint32_t arena_bytes = 1 << 20;
  uint64_t worker = 0;
  uint32_t version_max = PENSTOCK_ABI_VERSION;  // newest version of the protocol to be spoken
};

struct SegmentMemory {
  UniqueFd server_half;
  UniqueFd worker_half;
};

// Error: an impossible shape, or what memfd_create and ftruncate refuse.
[[nodiscard]] Result<SegmentMemory> create_segment(const SegmentShape& shape);

// What lies where in one channel. Who has a half read-only gets pointers to it all the same; a store there would fault.
struct ChannelMemory {
  penstock_server_page* server;
  penstock_cancel_page* cancel;
  penstock_descriptor* requests;
  unsigned char* server_arena;
  penstock_worker_page* worker;
  penstock_descriptor* responses;
  unsigned char* worker_arena;
  uint32_t entries;
  uint32_t exchanges_max;
  uint32_t chunk_bytes;
  uint32_t chunks;
  uint32_t arena_bytes;
  uint32_t version_max = PENSTOCK_ABI_VERSION;  // newest version that both this end and the header know
};

// A mapped segment. Move-only; unmaps at its end.
class Segment {
 public:
  enum class Side : uint8_t { SERVER, WORKER };
  // Checks magic, version, geometry, sizes and seals, and keeps a copy of the header: what happens to the memory
  // later changes no bound. Error: any of these, or what mmap refuses.
  [[nodiscard]] static Result<Segment> map(int server_half, int worker_half, Side side);

  [[nodiscard]] const penstock_segment& header() const { return header_; }
  // REQUIRES: number < header().channels.
  [[nodiscard]] ChannelMemory channel(uint32_t number) const;

 private:
  penstock_segment header_{};
  SharedMapping server_half_;
  SharedMapping worker_half_;
};

}  // namespace penstock
