// WorkerLink: the worker's end of one channel. The SDK stands on it; tests use it as the other end of ServerLink.
//
// One owner thread. Trusts the server: what it says is taken as it is, and a server that breaks the protocol is a bug
// (ASSERT). Never blocks and never enters the kernel; where a doorbell has to be rung it says so.
//
// When the server process is replaced, the new one comes with another epoch: next() then gives RESET, every open
// exchange is forgotten, and its handles find nothing.
#pragma once

#include "pool/abi/worker_abi.h"
#include "pool/ring/descriptor_ring.h"
#include "pool/ring/segment.h"
#include "src/base/handle.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

struct WorkerEvent {
  enum class Kind : uint8_t { RESET, REQUEST, BODY, CREDIT, CANCEL, PING, STOP };
  Kind kind = Kind::RESET;
  bool end = false;  // REQUEST, BODY: the request's body is whole with this
  penstock_cancel_reason reason{};
  Handle exchange;
  uint64_t serial = 0;
  const penstock_request_head* head = nullptr;  // REQUEST: valid until the exchange ends
  std::string_view body;  // REQUEST: valid until the exchange ends; BODY: until consumed() counts it
  uint64_t length = PENSTOCK_LENGTH_UNKNOWN;
  penstock_to_worker asked = PENSTOCK_REQUEST;  // REQUEST: or one of PENSTOCK_FILTER_*, whose parts are these and body
  uint16_t status = 0;
  uint64_t offset = 0;
};

// What the response cache may do with an answer; see penstock_policy. REQUIRES: names and counts that it allows.
struct WorkerPolicy {
  bool never = false;
  uint32_t revalidate_ms = 0;
  uint32_t error_ms = 0;
  std::span<const std::string_view> vary = {};
  std::span<const std::string_view> tags = {};
};

// The head of an answer, as a worker gives it.
struct WorkerHead {
  uint16_t status = 200;
  uint32_t ttl_ms = 0;
  uint64_t length = PENSTOCK_LENGTH_UNKNOWN;
  std::span<const std::pair<std::string_view, std::string_view>> fields = {};
  const WorkerPolicy* policy = nullptr;  // REQUIRES: null if version() < 2
};

// One change that a filter asks for; see penstock_edit.
struct WorkerEdit {
  penstock_edit_what what = PENSTOCK_EDIT_SET;
  std::string_view name;
  std::string_view value;
};

// What a filter says; see penstock_verdict.
struct WorkerVerdict {
  uint16_t status = 0;
  uint32_t wants = 0;
  std::string_view target = {};
  std::string_view log = {};
  std::span<const WorkerEdit> edits = {};
};
[[nodiscard]] size_t verdict_bytes(const WorkerVerdict& verdict);  // of its block

class WorkerLink {
 public:
  // `version_max`: speaks nothing newer, whatever both ends know.
  explicit WorkerLink(const ChannelMemory& memory, uint32_t version_max = PENSTOCK_ABI_VERSION);
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;

  // The next thing the server says; false: nothing.
  [[nodiscard]] bool next(WorkerEvent& event);
  [[nodiscard]] bool is_open(Handle exchange) const;
  [[nodiscard]] uint32_t version() const { return version_; }  // of the protocol, as spoken with this server
  // Response bytes that the server will take now.
  [[nodiscard]] uint32_t window(Handle exchange) const;
  // Bytes that one send should not exceed, so that exchanges share the arena.
  [[nodiscard]] size_t piece_max() const { return memory_.arena_bytes / 4; }
  // Whether nobody wants the answer any more; from any thread, also before next() has said so.
  [[nodiscard]] bool is_cancelled(Handle exchange) const;

  // Each sends all or nothing; false: no room in ring or arena for now, or beyond the window. An open exchange is ended
  // by exactly one call with `end`. REQUIRES: is_open(exchange).
  [[nodiscard]] bool send_head(Handle exchange, const WorkerHead& head, std::string_view body, bool end);
  [[nodiscard]] bool send_data(Handle exchange, std::string_view bytes, bool end);
  [[nodiscard]] bool send_file(Handle exchange, std::string_view path, uint64_t offset, uint64_t length, bool end);
  [[nodiscard]] bool send_entry(Handle exchange, std::string_view path, bool end);
  [[nodiscard]] bool execute(Handle exchange, std::string_view target);
  [[nodiscard]] bool abort(Handle exchange);
  [[nodiscard]] bool log(Handle exchange, std::string_view text);
  // REQUIRES: the exchange is one of PENSTOCK_FILTER_*, and verdict_bytes() is PENSTOCK_HEAD_BYTES at most.
  [[nodiscard]] bool send_verdict(Handle exchange, const WorkerVerdict& verdict);
  // So many BODY events more have been read.
  [[nodiscard]] bool consumed(Handle exchange, uint32_t count);
  [[nodiscard]] bool pong(uint64_t serial);

  // Shows it to the server. True: the channel's doorbell must be rung.
  [[nodiscard]] bool flush();
  // Before waiting where a send gave false although the window was wide enough: the doorbell then rings for room, too.
  // False: there is room by now.
  [[nodiscard]] bool starve();
  // Before waiting: false if there is something for next(). After either: awake().
  [[nodiscard]] bool may_sleep();
  void awake();

 private:
  struct Exchange {
    uint32_t generation = 0;
    uint32_t window = 0;
    bool open = false;
  };
  struct Piece {  // bytes in the arena
    uint32_t at = 0;
    char* to = nullptr;  // nullptr: no room
  };

  void take_up(uint32_t epoch);
  [[nodiscard]] Exchange& at(Handle exchange);
  [[nodiscard]] Piece allocate(size_t bytes);
  void put(const penstock_descriptor& to);
  void close_if(Handle exchange, bool end);
  [[nodiscard]] bool understand(const penstock_descriptor& from, WorkerEvent& event);
  [[nodiscard]] bool send_text(penstock_descriptor to, std::string_view text);

  ChannelMemory memory_;
  uint32_t version_;
  uint32_t epoch_ = 0;
  std::optional<DescriptorConsumer> down_;
  std::optional<DescriptorProducer> up_;
  std::vector<Exchange> exchanges_;
  // The arena as a ring; both offsets run freely.
  uint32_t arena_next_ = 0;
  uint32_t arena_free_ = 0;
  std::vector<uint32_t> arena_end_;  // arena_next_ after each descriptor, by its place in the ring
  uint32_t seen_consumed_ = 0;
};

}  // namespace penstock
