// RequestBlock: a request's head as it lies in the ring (penstock_request_head, pool/abi/worker_abi.h), out of its
// parts.
//
// Pure: writes into the caller's memory, which the worker may already be able to see; nothing is read back from it.
#pragma once

#include "pool/abi/worker_abi.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace penstock {

// The parts, as the ABI names them. Views are used during the call only.
struct RequestBlock {
  std::string_view method;
  std::string_view target;
  std::string_view path;
  std::string_view query;
  std::string_view authority;
  std::string_view route_prefix;
  std::string_view remote_address;
  std::string_view server_address;
  std::string_view site;
  uint16_t version_major = 1;
  uint16_t version_minor = 1;
  uint16_t remote_port = 0;
  uint16_t server_port = 0;
  bool secure = false;
  bool has_query = false;
  penstock_client_state client = PENSTOCK_CLIENT_NOT_ASKED;
  std::string_view client_subject;  // these two: only of PENSTOCK_CLIENT_VERIFIED
  std::string_view client_fingerprint;
};

// Collects the block: the texts of `parts`, then fields one by one, then finish().
class RequestBlockWriter {
 public:
  // REQUIRES: `room` begins at a multiple of 8 bytes; `field_count` fields will be added.
  RequestBlockWriter(std::span<char> room, const RequestBlock& parts, size_t field_count);
  void field(std::string_view name, std::string_view value);
  // Bytes of the block; 0: it did not fit, and nothing of the room may be used. REQUIRES: all fields were added.
  [[nodiscard]] uint32_t finish();

 private:
  penstock_text put(std::string_view text);

  std::span<char> room_;
  size_t used_;
  size_t fields_at_;
  size_t field_count_;
  size_t fields_done_ = 0;
  penstock_request_head head_{};
  bool fits_ = true;
};

}  // namespace penstock
