// What the SDK keeps of one exchange: behind penstock_exchange. One thread: the worker's.
#pragma once

#include "pool/ring/worker_link.h"
#include "pool/sdk/penstock_worker.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

struct SdkChannel;

// penstock_cache_policy, copied.
struct SdkPolicy {
  bool never = false;
  uint32_t revalidate_ms = 0;
  uint32_t error_ms = 0;
  std::vector<std::string> vary;
  std::vector<std::string> tags;
};

// What a filter is asked, and what it says so far; its texts are copies.
struct SdkFilter {
  struct Edit {
    penstock_edit_what what = PENSTOCK_EDIT_SET;
    std::string name;
    std::string value;
  };
  penstock_to_worker asked = PENSTOCK_FILTER_REQUEST;
  uint16_t response_status = 0;
  const penstock_response_head* response = nullptr;  // in memory of the server's; null: none
  uint64_t body_bytes = 0;
  uint64_t time_us = 0;
  uint16_t status = 0;
  std::string target;
  std::string log;
  std::vector<Edit> edits;
  size_t bytes = 0;  // of the verdict's block, so far
};

// Something that the rings had no room for; it goes out in order as there is room.
struct SdkPending {
  enum class Kind : uint8_t { HEAD, DATA, FILE, ENTRY, EXECUTE, ABORT, LOG, END, VERDICT };
  Kind kind = Kind::END;
  uint16_t status = 0;
  uint32_t ttl_ms = 0;
  uint64_t offset = 0;  // FILE: of the part; DATA: bytes of `text` that are out
  uint64_t length = PENSTOCK_LENGTH_UNKNOWN;
  std::string text;
  std::vector<std::pair<std::string, std::string>> fields;
};

}  // namespace penstock

struct penstock_exchange {
  penstock_worker* worker = nullptr;
  penstock::SdkChannel* channel = nullptr;
  penstock::Handle handle;
  uint64_t serial = 0;
  const penstock_request_head* head = nullptr;
  uint64_t body_length = 0;
  void* data = nullptr;
  uint32_t ttl_ms = 0;
  std::unique_ptr<penstock::SdkPolicy> policy;  // null: nothing beside ttl_ms
  std::unique_ptr<penstock::SdkFilter> filter;  // null: it is a request
  uint32_t unconsumed = 0;                      // pieces that were read, and the server does not know
  bool open = false;                            // the rings know it
  bool handed_out = false;  // the application has it: it has not ended it, nor been told that it is cancelled
  bool begun = false;
  bool paused = false;
  bool wants_room = false;  // write() took less than it was given
  bool listed = false;      // in SdkChannel::busy
  struct Piece {
    std::string_view bytes;
    bool last = false;
    bool inline_piece = false;  // came with the head: not to be counted as consumed
  };
  std::vector<Piece> body;  // pieces that the application has not seen; a handful
  std::vector<penstock::SdkPending> pending;
};
