// The journal's shared memory: what lies where. Version 4.
//
// One pair of memfds per reactor, created, sealed against resizing and owned by the supervisor:
//
//   data  written by the server's reactor only        ack  written by logd only
//   +-----------------------------+ 0                 +---------------------------+ 0
//   | JournalHeader (const)       |                   | AckPage: tail, sleep word,|
//   +-----------------------------+ 4096              |  and for each log how far |
//   | ProducerPage: head, seqs    |                   |  it is                    |
//   +-----------------------------+ 8192              +---------------------------+ 4096
//   | Counters                    |
//   +-----------------------------+ 16384
//   | slot_count x Slot (1 KiB)   |   requests in flight
//   +-----------------------------+
//   | finish ring, a power of two |   EndRecords, 64-byte aligned, indices run freely
//   +-----------------------------+
//
// logd and the supervisor hold `data` read-only, the server holds `ack` read-only. Who reads a page
// distrusts its writer: geometry is checked against the sealed file size once at mapping, records and
// slots are copied once, the copy is checked, the copy is used.
//
// Ordering. Ring: the reactor writes a record, then stores head (release); logd loads head (acquire);
// logd stores tail (release) once the record is in every log that wants it; the reactor loads tail (acquire) when
// its remembered tail says the ring is full. Slot: a sequence lock; `version` is odd while the reactor
// rewrites the slot, `stage`, `moments`, byte counts and what is said of workers change by single relaxed stores in
// between.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace penstock {

constexpr auto RELAXED = std::memory_order_relaxed;

inline constexpr uint64_t JOURNAL_MAGIC = 0x314c4e4a534e4550ULL;  // "PENSJNL1" in memory order
inline constexpr uint32_t JOURNAL_VERSION = 4;
inline constexpr uint32_t JOURNAL_PAGE = 4096;

// Where a request is. 0 marks a free slot.
enum class Stage : uint32_t {
  FREE,
#define STAGE(name, moment, text) name,
#include "src/log/journal.def"
};
inline constexpr auto STAGE_NAMES = std::to_array<std::string_view>({
    "free",
#define STAGE(name, moment, text) text,
#include "src/log/journal.def"
});

// Points in time of a request, each an index into an array of monotonic nanoseconds.
enum class Moment : uint32_t {
#define MOMENT(name, text) name,
#include "src/log/journal.def"
  NONE
};
inline constexpr auto MOMENT_NAMES = std::to_array<std::string_view>({
#define MOMENT(name, text) text,
#include "src/log/journal.def"
});
inline constexpr size_t MOMENT_COUNT = MOMENT_NAMES.size();

// The strings of a finish record, in the order in which they follow it.
enum class Text : uint32_t {
#define TEXT(name, bytes_max) name,
#include "src/log/journal.def"
};
inline constexpr auto TEXT_BYTES_MAX = std::to_array<uint16_t>({
#define TEXT(name, bytes_max) bytes_max,
#include "src/log/journal.def"
});
inline constexpr size_t TEXT_COUNT = TEXT_BYTES_MAX.size();
inline constexpr size_t HEAD_TEXT_COUNT = 5;  // method ... referer: known from the request head
static_assert(static_cast<size_t>(Text::site) == HEAD_TEXT_COUNT);

// An endpoint. IPv4 is kept v4-mapped (::ffff:a.b.c.d); port in host order; 0 for unix sockets.
struct JournalAddress {
  enum Family : uint8_t { NONE = 0, UNIX = 1, IPV4 = 4, IPV6 = 6 };
  std::array<uint8_t, 16> ip{};
  uint16_t port = 0;
  uint8_t family = NONE;
  uint8_t reserved = 0;
  bool operator==(const JournalAddress&) const = default;
};
static_assert(sizeof(JournalAddress) == 20);

// data, offset 0. Written once by the supervisor before anyone else maps it.
struct JournalHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t reactor;   // index of the reactor this pair belongs to
  uint64_t instance;  // random, one per supervisor start: sequence numbers restart with it
  uint32_t slot_count;
  uint32_t slot_bytes;
  uint64_t slots_offset;
  uint64_t ring_offset;
  uint64_t ring_bytes;  // a power of two
  uint64_t counters_fingerprint;
};
static_assert(sizeof(JournalHeader) == 64 && std::is_trivially_copyable_v<JournalHeader>);

// data, offset 4096. Written by the reactor.
struct alignas(64) ProducerPage {
  std::atomic<uint64_t> head;         // bytes ever published into the ring
  std::atomic<uint64_t> seq_start;    // requests and connection records ever begun
  std::atomic<uint64_t> seq_finish;   // ever finished: published plus dropped
  std::atomic<uint64_t> dropped;      // finish records that found the ring full
  std::atomic<uint64_t> last_record;  // where the record written last lies; published once head is beyond it
  std::atomic<uint64_t> slots_used;   // slots from here on were never taken: readers need not touch them
  std::atomic<uint64_t> incarnation;  // server processes that have used this memory
};
static_assert(sizeof(ProducerPage) == 64);

// What logd is about to append, published before the write and cleared by the store to tail: whoever
// replaces a logd killed in between learns from the file's size whether the batch got there.
struct WriteIntent {
  uint64_t file_device;
  uint64_t file_inode;
  uint64_t file_offset;  // size of the file before the batch
  uint64_t file_bytes;   // size of the batch
  uint64_t tail_after;   // tail once the batch is written; an intent is open while the log's tail < tail_after
};

// One log's place in the ring. Several logs may take from one, each at its own pace: how far it has come, and what it
// is about to append.
struct alignas(64) LogCursor {
  std::atomic<uint64_t> log;          // log_number(); 0: free. The first is log.access, whatever stands here
  std::atomic<uint64_t> tail;         // bytes of the ring that this log needs no more
  std::atomic<uint64_t> seq_written;  // seq_finish of the last record consumed, plus one
  std::atomic<uint64_t> records;      // consumed by this log
  std::atomic<uint64_t> given_up;     // records that were read and are not in this log: the oldest had to go
  std::atomic<uint64_t> intent_seq;   // sequence lock of `intent`: odd while it is rewritten
  std::array<std::atomic<uint64_t>, sizeof(WriteIntent) / 8> intent;
};
static_assert(sizeof(LogCursor) == 128);
inline constexpr size_t LOG_CURSORS = 16;  // log.access and 15 more

// ack, offset 0. Written by logd.
struct alignas(64) AckPage {
  std::atomic<uint64_t> tail;        // what the reactor may write over: the least of all cursors'
  std::atomic<uint64_t> sleep_word;  // epoch << 2 | DrainState
  std::atomic<uint64_t> lost;        // ring bytes that log.access skipped because the memory made no sense
  std::array<LogCursor, LOG_CURSORS> cursors;
};
static_assert(sizeof(AckPage) == 64 + LOG_CURSORS * sizeof(LogCursor) && sizeof(AckPage) <= JOURNAL_PAGE);

enum class DrainState : uint32_t {
  AWAKE,   // looks again by itself within a batch interval... no bell needed
  DOZING,  // on a timer: ring only when the ring is half full
  ASLEEP,  // until the bell
};

// A request in flight: 224 bytes of facts, then bytes of its head as they came from the wire.
struct Slot {
  static constexpr size_t TEXT_AREA = 800;
  static constexpr size_t EXCERPT_MAX = 704;  // the rest of the area takes strings that the excerpt misses
  struct Span {
    uint16_t offset;
    uint16_t size;
  };

  std::atomic<uint32_t> version;  // odd: being rewritten
  std::atomic<uint32_t> stage;    // Stage
  uint64_t seq_start;
  uint64_t connection;      // id of the connection, unique in this instance
  uint32_t request_number;  // on its connection, from 1
  uint32_t generation;      // of the config
  int64_t begin_mono;
  int64_t begin_wall;
  std::array<std::atomic<int64_t>, MOMENT_COUNT> moments;
  JournalAddress client;
  JournalAddress server;
  std::array<Span, HEAD_TEXT_COUNT> texts;  // valid once the head was parsed; {0,0} where absent
  uint16_t excerpt_bytes;
  uint16_t flags;
  std::atomic<uint64_t> worker;       // number of the worker process that has it; 0: none
  std::atomic<uint64_t> worker_left;  // that had it, and has said its last word of it; also of a free slot
  std::atomic<int64_t> left_mono;     // when
  std::atomic<uint64_t> bytes_in;     // of a request for an application, so far: head and body as it went there
  std::atomic<uint64_t> bytes_out;    // and head and body as they were written for the client
  std::array<char, TEXT_AREA> text;
};
static_assert(sizeof(Slot) == 1024 && offsetof(Slot, text) == 224);
static_assert(std::is_standard_layout_v<Slot>);

enum class RecordKind : uint16_t {
  PAD = 1,         // fills the ring up to its end
  REQUEST = 2,     // a request finished
  CONNECTION = 3,  // a connection was refused or closed and no request tells of it
};

// Bits of EndRecord::flags (and of Slot::flags).
enum RecordFlag : uint16_t {
  RECORD_TRUNCATED = 1 << 0,   // a string was cut at its limit
  RECORD_KEEP_ALIVE = 1 << 1,  // the connection stays open behind this response
  RECORD_ABORTED = 1 << 2,     // the client left before the last byte
  RECORD_TRACED = 1 << 3,      // a trace of this request was kept
  RECORD_ABANDONED = 1 << 4,   // written for a request that was open when its server died
  RECORD_SECURE = 1 << 5,      // it came over TLS
  RECORD_RESET = 1 << 6,       // no answer was sent: the connection, or the stream of HTTP/2, was reset instead
};

enum class HttpVersion : uint8_t { UNKNOWN = 0, HTTP_10 = 10, HTTP_11 = 11, HTTP_2 = 20, HTTP_3 = 30 };
enum class BodyCoding : uint8_t { IDENTITY, GZIP, BROTLI, ZSTD };

// A record of the finish ring: this head, then the strings back to back, padded to 64 bytes.
struct EndRecord {
  uint32_t size;  // of the whole record, a multiple of 64
  RecordKind kind;
  uint16_t flags;
  uint64_t seq_start;
  uint64_t seq_finish;
  int64_t begin_mono;
  int64_t begin_wall;
  uint64_t connection;
  uint32_t request_number;
  uint32_t generation;
  std::array<int64_t, MOMENT_COUNT> moments;
  uint64_t bytes_in;  // head of the request, and what an application was given of its body
  uint64_t head_bytes_out;
  uint64_t body_bytes_out;
  uint16_t status;  // 0 where no response was sent
  uint16_t sub_status;
  uint16_t reason;   // src/http/status.def
  uint16_t verdict;  // cache/verdict.def
  JournalAddress client;
  JournalAddress server;
  HttpVersion version;
  BodyCoding coding;
  std::array<uint16_t, TEXT_COUNT> text_bytes;
  std::array<uint16_t, 1> reserved;
};
inline constexpr size_t END_RECORD_HEAD = 224;
static_assert(sizeof(EndRecord) == END_RECORD_HEAD && std::is_trivially_copyable_v<EndRecord>);

inline constexpr size_t RECORD_ALIGN = 64;
constexpr size_t record_round_up(size_t n) { return (n + RECORD_ALIGN - 1) & ~(RECORD_ALIGN - 1); }
inline constexpr size_t RECORD_BYTES_MAX = [] {
  size_t sum = END_RECORD_HEAD;
  for (const uint16_t n : TEXT_BYTES_MAX) sum += n;
  return record_round_up(sum);
}();
static_assert(RECORD_BYTES_MAX <= 12800);
inline constexpr uint64_t RING_BYTES_MIN = 32768;  // two of the largest records and a pad always fit

// Offsets of the areas that do not depend on the geometry.
inline constexpr uint64_t PRODUCER_OFFSET = JOURNAL_PAGE;
inline constexpr uint64_t COUNTERS_OFFSET = 2 * JOURNAL_PAGE;
inline constexpr uint64_t SLOTS_OFFSET = 4 * JOURNAL_PAGE;

}  // namespace penstock
