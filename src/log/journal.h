// Journal: the begin record and the end record of every request, and one record for every connection
// that is closed without a request to tell of it.
//
// One Journal per reactor, used by its thread only. begin() writes the in-flight slot in shared memory
// before any other code looks at the request's bytes, so that whatever kills the process leaves its
// name behind; stage() moves one word; end() appends the finish record to the ring that logd drains
// and frees the slot. No call allocates, locks, blocks or enters the kernel; turn_end() may ring logd's
// eventfd, once per sleep of logd. When the ring is full a record is dropped and counted; when no log
// is wanted the ring stays untouched and slots work all the same.
//
// It also keeps the counters that follow from its records: requests, requests_open, responses_Nxx, journal_*.
//
// Never here: formatting, policy, clocks. `now` is the turn's; where a request ends it may be later, within the turn.
#pragma once

#include "src/base/fixed_pool.h"
#include "src/base/time.h"
#include "src/log/counters.h"
#include "src/log/journal_abi.h"
#include "src/log/journal_memory.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

struct sockaddr;

namespace penstock {

// AF_INET, AF_INET6 (v4-mapped becomes IPV4) and AF_UNIX; anything else is NONE.
[[nodiscard]] JournalAddress journal_address(const sockaddr* address);

// What a connection says of itself in each of its records. Kept by the connection (64 bytes).
struct ConnectionFacts {
  uint64_t id = 0;  // unique in this instance: next_connection_id()
  MonoTime accepted;
  JournalAddress client;
  JournalAddress server;
};

// A request's place in the journal, from begin() to end().
struct JournalSlot {
  uint32_t index = UINT32_MAX;
  [[nodiscard]] bool valid() const { return index != UINT32_MAX; }
};

// The strings of a request head, views into the caller's buffer. Raw, as they came from the wire.
struct HeadTexts {
  std::string_view method;
  std::string_view target;
  std::string_view host;
  std::string_view user_agent;
  std::string_view referer;
};

// How a request ended. Codes are names of src/http/status.def and cache/verdict.def.
struct Outcome {
  uint16_t status = 0;  // 0: nothing was answered
  uint16_t sub_status = 0;
  uint16_t reason = 0;
  uint16_t verdict = 0;
  uint64_t bytes_in = 0;
  uint64_t head_bytes_out = 0;
  uint64_t body_bytes_out = 0;
  HttpVersion version = HttpVersion::UNKNOWN;
  BodyCoding coding = BodyCoding::IDENTITY;
  uint16_t flags = 0;                   // RecordFlag
  std::string_view site;                // the site's name, empty where none was found
  std::string_view user;                // the authenticated user, empty where none
  std::string_view client_subject;      // of the client's certificate, empty where it showed none
  std::string_view client_fingerprint;  // of the same
  std::string_view filter;              // what filters say of it, empty where they say nothing
  bool expendable = false;              // not written, but counted as dropped, while log_is_full()
};

class Journal {
 public:
  // Takes the reactor's side of `map` and goes on where a predecessor stopped: sequence numbers, ring
  // and counters continue. Slots that a dead predecessor left open stay as they are until
  // close_abandoned(). `doorbell_fd` is the bell that wakes logd, or -1; not owned.
  // REQUIRES: `map` was mapped as REACTOR and outlives this.
  Journal(JournalMap& map, int doorbell_fd);
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Ends every slot that a predecessor left open with a finish record of its own (flag
  // RECORD_ABANDONED, status 0, `reason`), so that the log misses no request. Returns how many.
  // Call once, before the first begin(), after the supervisor has read the slots.
  uint32_t close_abandoned(MonoTime now, uint16_t reason);

  // Pairs the two clocks; wall times of later records derive from it. Call at start and about once a second.
  void set_wall(MonoTime mono, WallTime wall) { wall_minus_mono_ = wall.ns - mono.ns; }
  // Whether finish records go to the ring. Off where log.access.format is none.
  void set_recording(bool on) { recording_ = on; }
  // Whether log_is_full() can be true: log.access.on_full is refuse.
  void set_refusing(bool on) { refusing_ = on; }
  // Whether requests should be refused now: what is left of the ring is kept for those already begun. A quarter of it
  // and USUAL_RECORD for each of them; should they all be longer, those that find no room are dropped and counted.
  [[nodiscard]] bool log_is_full() {
    if (!refusing_ || !recording_) return false;
    return head_ - tail_seen_ + open_count_ * USUAL_RECORD > full_mark_ && still_full();
  }

  // Opens the record of a request whose first bytes are `raw` (what has arrived; EXCERPT_MAX are kept).
  // `now` becomes its first-byte moment. request_number counts from 1 on its connection; the accept
  // moment is set for number 1. At the limit of slots the answer is an invalid slot: refuse the request
  // and write connection() instead.
  [[nodiscard]] JournalSlot begin(MonoTime now, const ConnectionFacts& connection, uint32_t request_number,
                                  uint32_t generation, std::string_view raw);

  // More of the same head has arrived: `raw` is all of it so far.
  void extend(JournalSlot slot, std::string_view raw);

  // The head was parsed. `raw` is the head from its first byte (as given to begin() or extend());
  // views inside its kept excerpt cost an offset each, others are copied, up to TEXT_BYTES_MAX.
  void head(JournalSlot slot, std::string_view raw, const HeadTexts& texts);

  // It was sent by somebody else than the connection's peer, who only passes it on.
  void client(JournalSlot slot, const JournalAddress& address);

  // The request moves to `stage`; stamps the moment that the stage stands for, if not stamped yet.
  void stage(JournalSlot slot, Stage stage, MonoTime now);
  // A worker process gets the request: before it can see it. 0: it was taken from a worker that was lost, and waits.
  void worker(JournalSlot slot, uint64_t number, MonoTime now);
  // The same of the worker of a filter, which answers nothing: no moment of the request is stamped.
  void filter(JournalSlot slot, uint64_t number, MonoTime now);
  // The worker has said its last word of the request: it is inside of no process any more. The stage stays.
  void worker_done(JournalSlot slot, MonoTime now);
  // Bytes so far of a request that an application has, or is to have.
  void bytes_in(JournalSlot slot, uint64_t bytes);
  void bytes_out(JournalSlot slot, uint64_t bytes);
  // The request's number: unique among those of this reactor in this instance.
  [[nodiscard]] uint64_t serial(JournalSlot slot) const { return map_.slot(slot.index).seq_start; }
  // When its first byte came.
  [[nodiscard]] MonoTime begun(JournalSlot slot) const { return {map_.slot(slot.index).begin_mono}; }
  // Stamps one moment, if not stamped yet.
  void moment(JournalSlot slot, Moment moment, MonoTime now);
  // Stamps a moment whether or not it was stamped: LAST_BYTE_OUT moves with each send.
  void moment_again(JournalSlot slot, Moment moment, MonoTime now);

  // Closes the record: `now` is the finish moment; the slot is free for the next begin().
  void end(JournalSlot slot, MonoTime now, const Outcome& outcome);

  // A connection was refused or closed before a request began: one record that says why.
  void connection(MonoTime now, const ConnectionFacts& connection, uint32_t generation, const Outcome& outcome,
                  const HeadTexts& texts = {});

  // Once per turn, after the turn's work: wakes logd if it sleeps and there is something for it.
  void turn_end();

  [[nodiscard]] uint64_t next_connection_id() { return ++connection_ids_; }
  [[nodiscard]] uint32_t open_count() const { return open_count_; }
  [[nodiscard]] uint32_t slot_count() const { return slot_count_; }
  // Share of the ring in use, in 1/1024.
  [[nodiscard]] uint32_t ring_fill() const;

 private:
  static constexpr uint64_t USUAL_RECORD = 512;
  struct LongTexts {  // strings that do not fit into the slot, until its end()
    std::array<Slot::Span, HEAD_TEXT_COUNT> spans{};
    uint32_t used = 0;
    std::array<char, 11552> bytes;  // not cleared: `used` bounds it
    LongTexts() {}
  };
  using Texts = std::array<std::string_view, TEXT_COUNT>;

  void keep_text(Slot& slot, uint32_t index, size_t text_index, std::string_view text, std::string_view raw,
                 size_t& area_used);
  Texts texts_of(const Slot& slot, uint32_t index, const Outcome& outcome) const;
  bool already_finished(uint64_t seq_start) const;
  void count_response(uint16_t status);
  void finish(EndRecord& record, const Texts& texts, bool expendable = false);
  bool still_full();
  unsigned char* reserve(size_t bytes);
  void release(uint32_t index);

  JournalMap& map_;
  Counters& counters_;
  ProducerPage& producer_;
  AckPage& ack_;
  unsigned char* ring_;
  uint64_t ring_bytes_;
  uint64_t head_ = 0;       // local twin of producer_.head
  uint64_t tail_seen_ = 0;  // last believable tail read from logd
  uint64_t seq_start_ = 0;
  uint64_t seq_finish_ = 0;
  uint64_t head_told_ = 0;   // head at the last turn_end()
  uint64_t epoch_rung_ = 0;  // logd's sleep that was already answered by a bell
  int64_t wall_minus_mono_ = 0;
  uint64_t connection_ids_ = 0;
  uint32_t slot_count_;
  uint32_t slots_used_ = 0;
  uint32_t open_count_ = 0;
  int doorbell_fd_;
  bool recording_ = true;
  bool refusing_ = false;
  uint64_t full_mark_;              // bytes of the ring
  std::vector<uint32_t> free_;      // slots given back, last in first out
  std::vector<LongTexts*> longer_;  // per slot, nullptr but for heads with long strings
  FixedPool<LongTexts> long_texts_;
};

}  // namespace penstock
