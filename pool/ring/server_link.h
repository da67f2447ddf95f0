// ServerLink: the server's end of one channel to one worker. It carries exchanges: requests and their bodies down,
// responses up, both in pieces, many at a time, in any order.
//
// One owner: the reactor of the channel, on its thread. Never blocks, never enters the kernel; where a doorbell has to
// be rung it says so. Everything that the worker writes is hostile: descriptors and response heads are copied once,
// the copy is checked, the copy is used; body bytes are given out as a view for the caller to copy or send once. The
// first thing that no worker may do ends the link: violation() names it, no event follows, and the process is to be
// killed.
//
// Memory and flow. A request's head, with the first body bytes, lies in one chunk until the exchange ends. Each further
// piece of body takes a chunk until the worker has read it; an exchange holds at most `upload_chunks_max`, and the
// chunks that heads may need are never used for bodies. Down: send_body() takes nothing where there is no chunk. Up: a
// worker may send what grant() allows, and no more.
//
// Here an exchange is open until the worker ends it, also after cancel(): its chunks are being read.
#pragma once

#include "pool/abi/worker_abi.h"
#include "pool/ring/descriptor_ring.h"
#include "pool/ring/segment.h"
#include "src/base/handle.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace penstock {

enum class LinkViolation : uint8_t {
#define X(name, sentence) name,
#include "pool/ring/violations.def"
#undef X
};
[[nodiscard]] std::string_view violation_sentence(LinkViolation violation);

// One header field of an answer: inside its block, with a name that is not empty. Whether name and value are what HTTP
// allows is for who writes them out.
struct LinkField {
  std::string_view name;
  std::string_view value;
};

// What the worker says of the response cache (version 2); checked: sizes and counts are within PENSTOCK_POLICY_*, names
// and tags are what they may be.
struct LinkPolicy {
  bool never = false;
  uint32_t revalidate_ms = 0;
  uint32_t error_ms = 0;
  std::vector<std::string_view> vary;
  std::vector<std::string_view> tags;
};

// One change of a field that a filter asks for (version 3). The name is not empty; else as LinkField.
struct LinkEdit {
  penstock_edit_what what = PENSTOCK_EDIT_SET;
  std::string_view name;
  std::string_view value;
};

// What a filter says; checked: there is nothing that its moment does not have.
struct LinkVerdict {
  bool wants_response = false;
  bool wants_log = false;
  std::string_view target;
  std::string_view log;
  std::vector<LinkEdit> edits;
};

// What the worker did. Views are valid until the next call of next().
struct LinkEvent {
  enum class Kind : uint8_t {
    READY,     // the worker takes requests
    HEAD,      // status, fields, body, length, ttl_ms, policy
    DATA,      // body
    FILE,      // body: a path; offset, length
    ENTRY,     // body: a URL's path
    EXECUTE,   // body: a request target
    CONSUMED,  // there is room for more of the exchange's body
    ABORTED,   // the exchange has ended without a whole answer
    ENDED,     // a cancelled exchange has ended; its slot is free
    PONG,      // serial
    LOG,       // body: text for the log
    VERDICT,   // verdict, status: the exchange was one of a filter, and has ended
  };
  Kind kind = Kind::READY;
  bool end = false;  // the exchange has ended with this: its handle is stale
  uint16_t status = 0;
  uint32_t ttl_ms = 0;
  Handle exchange;
  uint64_t serial = 0;  // of the request, as begin() got it
  std::span<const LinkField> fields;
  const LinkPolicy* policy = nullptr;
  const LinkVerdict* verdict = nullptr;
  std::string_view body;  // in memory that the worker can still change: look at each byte once
  uint64_t length = PENSTOCK_LENGTH_UNKNOWN;
  uint64_t offset = 0;
};

struct LinkLimits {
  uint32_t window_bytes = 256 * 1'024;  // of response body that may be under way unread, per exchange
  uint32_t upload_chunks_max = 16;      // of request body, per exchange
  uint32_t head_bytes_max = PENSTOCK_HEAD_BYTES;
  uint32_t fields_max = PENSTOCK_HEAD_FIELDS;
};

// What begin() sends, as it lies in request_room(): a penstock_request_head block at its start, then body.
struct RequestFrame {
  penstock_to_worker kind = PENSTOCK_REQUEST;  // or one of PENSTOCK_FILTER_*. REQUIRES: version() has it
  uint16_t status = 0;                         // with offset: of a filter's, as the ABI has them
  uint64_t offset = 0;
  uint64_t serial = 0;
  uint32_t head_bytes = 0;
  uint32_t body_bytes = 0;                    // the first of the body; end: all of it
  uint64_t length = PENSTOCK_LENGTH_UNKNOWN;  // of the whole body
  bool end = true;
  bool wants_body = true;  // false for HEAD: the answer may announce a body and bring none
};

class ServerLink {
 public:
  // `epoch` > 0: another one for each server process that takes this channel over. What was under way in an earlier
  // epoch is forgotten by the worker. The first flush() makes the worker look. `memory` outlives this.
  ServerLink(const ChannelMemory& memory, uint32_t epoch, const LinkLimits& limits);
  ServerLink(const ServerLink&) = delete;
  ServerLink& operator=(const ServerLink&) = delete;

  // READY came, and nothing is wrong.
  [[nodiscard]] bool ready() const { return ready_ && violation_ == LinkViolation::NONE; }
  [[nodiscard]] LinkViolation violation() const { return violation_; }
  // Of the protocol, as the worker chose. REQUIRES: READY came.
  [[nodiscard]] uint32_t version() const { return version_; }  // that the worker's READY named
  [[nodiscard]] uint32_t version_max() const { return memory_.version_max; }
  [[nodiscard]] uint32_t open_exchanges() const { return open_; }
  [[nodiscard]] uint32_t free_chunks() const { return free_chunks_; }  // all of them when no exchange is open

  // --- down ---
  // Room for a head and the first body bytes of the next request: chunk_bytes of it, to be written by the caller.
  // Empty: no slot, chunk or descriptor is free, or !ready(). The same room until begin() uses it.
  [[nodiscard]] std::span<char> request_room();
  // Sends what was written into request_room(). REQUIRES: that was not empty, and nothing was sent since.
  [[nodiscard]] Handle begin(const RequestFrame& frame);
  // Copies up to one chunk of body; how many bytes were taken. `end`: of the whole body, if all of `bytes` is taken.
  // 0: try again after CONSUMED or later. REQUIRES: is_open(exchange), and no end before.
  [[nodiscard]] size_t send_body(Handle exchange, std::string_view bytes, bool end);
  // All of the request's body was taken. REQUIRES: is_open(exchange).
  [[nodiscard]] bool body_is_sent(Handle exchange) const { return exchanges_[exchange.index].body_sent; }
  // The response may go on by so many bytes: as many as the client's side took. REQUIRES: is_open(exchange).
  void grant(Handle exchange, uint32_t bytes);
  // Nobody wants the answer any more: its events end, but for ENDED. REQUIRES: is_open(exchange).
  void cancel(Handle exchange, penstock_cancel_reason reason);
  [[nodiscard]] bool is_open(Handle exchange) const;
  // False: the ring is full, nothing was sent.
  [[nodiscard]] bool ping(uint64_t serial);
  [[nodiscard]] bool stop();
  // At the end of a turn: shows it to the worker. True: its doorbell must be rung.
  [[nodiscard]] bool flush();

  // --- up ---
  // The next thing the worker did; false: nothing, or a violation. A hostile worker always has one more: the caller
  // bounds how many it takes in a turn.
  [[nodiscard]] bool next(LinkEvent& event);
  // Whether next() has something, most likely: without taking anything, or asking to be rung for.
  [[nodiscard]] bool shows_more() const {
    return violation_ == LinkViolation::NONE && up_.has_value() && up_->shows_more();
  }
  // Before the reactor waits: false if there is something for next(). After either: awake().
  [[nodiscard]] bool may_sleep();
  void awake();

 private:
  static constexpr uint32_t NONE = UINT32_MAX;
  struct Exchange {
    uint64_t serial = 0;
    uint64_t body_left = 0;  // of the announced length
    uint32_t generation = 0;
    uint32_t head_chunk = NONE;
    uint32_t first_chunk = NONE;  // of body under way, oldest first
    uint32_t last_chunk = NONE;
    uint32_t chunks = 0;
    uint32_t window = 0;
    uint32_t owed = 0;  // granted, and not said yet: no descriptor was free
    uint32_t next_free = NONE;
    bool open = false;
    bool cancelled = false;
    bool cancel_owed = false;
    bool owing = false;  // the slot is named in owing_, maybe since the exchange before
    uint16_t cancel_reason = 0;
    bool body_sent = false;  // all of the request's
    bool wants_body = true;
    bool has_head = false;
    bool bodyless = false;  // 204, 304
    bool knows_length = false;
    uint8_t filter = 0;  // the PENSTOCK_FILTER_* that opened it; 0: a request
  };

  [[nodiscard]] bool attach();
  [[nodiscard]] Exchange* find(const penstock_descriptor& from);
  [[nodiscard]] bool violate(LinkViolation violation);
  // These give false for a violation.
  [[nodiscard]] bool understand(const penstock_descriptor& from, LinkEvent& event);
  [[nodiscard]] bool understand_ready(const penstock_descriptor& from);
  [[nodiscard]] bool understand_exchange(const penstock_descriptor& from, Exchange& exchange, LinkEvent& event);
  [[nodiscard]] bool understand_head(const penstock_descriptor& from, Exchange& exchange, LinkEvent& event);
  [[nodiscard]] bool understand_body(const penstock_descriptor& from, Exchange& exchange, LinkEvent& event);
  [[nodiscard]] bool understand_consumed(const penstock_descriptor& from, Exchange& exchange);
  [[nodiscard]] bool understand_verdict(const penstock_descriptor& from, const Exchange& exchange, LinkEvent& event);
  [[nodiscard]] bool copy_verdict(const penstock_descriptor& from, uint8_t filter, LinkEvent& event);
  [[nodiscard]] bool copy_head(const penstock_descriptor& from, LinkEvent& event);
  [[nodiscard]] bool copy_policy(const penstock_response_head& head, LinkEvent& event);
  [[nodiscard]] bool in_arena(uint32_t at, uint32_t bytes) const;
  [[nodiscard]] bool count_body(Exchange& exchange, uint64_t bytes);
  [[nodiscard]] bool take_end(Exchange& exchange, LinkEvent& event);
  void end_exchange(Exchange& exchange);
  [[nodiscard]] uint32_t take_chunk();  // REQUIRES: free_chunk_ != NONE
  void give_chunk(uint32_t chunk);
  void give_body_chunk(Exchange& exchange);
  [[nodiscard]] bool tell(uint8_t kind, uint64_t serial);
  [[nodiscard]] uint32_t slot_of(const Exchange& exchange) const;
  [[nodiscard]] penstock_descriptor descriptor(uint8_t kind, const Exchange& exchange) const;
  [[nodiscard]] bool settle(Exchange& exchange);  // says what is owed, where there is room; true: all of it
  void settle_or_owe(Exchange& exchange);

  ChannelMemory memory_;
  LinkLimits limits_;
  uint32_t epoch_;
  std::optional<DescriptorProducer> down_;
  std::optional<DescriptorConsumer> up_;
  std::vector<Exchange> exchanges_;
  std::vector<uint32_t> chunk_next_;  // of the free list, or of an exchange's body
  std::vector<uint32_t> owing_;       // slots with something owed
  uint32_t free_chunk_ = NONE;
  uint32_t free_chunks_ = 0;
  uint32_t free_slot_ = NONE;
  uint32_t open_ = 0;
  uint32_t taken_ = 0;        // descriptors since the last release()
  uint64_t taken_bytes_ = 0;  // of the arena, likewise
  bool announced_ = false;    // our epoch
  bool made_room_ = false;    // released since the last flush()
  bool ready_ = false;
  uint32_t version_ = 0;
  LinkViolation violation_ = LinkViolation::NONE;
  std::vector<char> head_copy_;
  std::vector<LinkField> fields_;
  LinkPolicy policy_;
  LinkVerdict verdict_;
};

}  // namespace penstock
