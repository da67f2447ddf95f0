// The binary access log: what lies where in the file. Version 1. All integers are little-endian.
//
//   file   = FileHeader block*
//   block  = BlockHeader payload          (payload: `bytes` long, `count` items)
//
//   STRINGS_SMALL, STRINGS_LARGE   count x { u16 size, bytes }: the next ids of that table, from 0 on
//   RECORDS                        count x BinaryRecord, all from one reactor, in order of finish
//   GAP                            no payload: `first_seq` records of `reactor` were dropped here
//
// Strings stand as the client sent them, raw. A record names a string by its id; id 0 of both tables is
// the empty string and never written. A block with flag BLOCK_RESET empties both tables first: it opens
// each file, each start of the writer, and follows when a table is full. The small table (65,535 ids)
// holds methods, sites, server endpoints and users; the large one (4 M ids, 256 MiB) targets, hosts, user
// agents, referers and client addresses. A server endpoint is "address port", a client address its text.
//
// Worked example: the first request ever, GET /a of 192.0.2.7:40000, answered 200 (19 strings' bytes):
//
//   0000  50 45 4e 53 4c 4f 47 31  01 00 00 00 20 00 00 00   PENSLOG1, version 1, header of 32 bytes
//   0010  <u64 creation time, ns>  00 00 00 00 00 00 00 00
//   0020  42 4c 4b 31  01 00  01 00  02 00 00 00  16 00 00 00   BLK1, STRINGS_SMALL, RESET, 2 items, 22 bytes
//         <u64 XXH3 of the payload> <u64 0> <u64 instance> <u32 reactor> <u32 0>
//   0050  03 00 "GET"   0f 00 "192.0.2.1 8080 "...              ids 1, 2
//         BLK1 STRINGS_LARGE: 02 00 "/a"  09 00 "192.0.2.7"     ids 1, 2
//         BLK1 RECORDS, 1 item, 96 bytes: one BinaryRecord with method 1, server 2, target 1, client 2
//
// A write that was cut short leaves a block whose checksum fails; readers look for the next block and
// use no record before the next BLOCK_RESET, because ids may be missing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace penstock {

struct BinaryFileHeader {
  static constexpr std::array<char, 8> MAGIC = {'P', 'E', 'N', 'S', 'L', 'O', 'G', '1'};
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t header_bytes;
  int64_t created_wall_ns;
  uint64_t reserved;
};
static_assert(sizeof(BinaryFileHeader) == 32 && std::is_trivially_copyable_v<BinaryFileHeader>);

enum class BlockKind : uint16_t { STRINGS_SMALL = 1, STRINGS_LARGE = 2, RECORDS = 3, GAP = 4 };
inline constexpr uint16_t BLOCK_RESET = 1;

struct BlockHeader {
  static constexpr std::array<char, 4> MAGIC = {'B', 'L', 'K', '1'};
  std::array<char, 4> magic;
  BlockKind kind;
  uint16_t flags;
  uint32_t count;
  uint32_t bytes;      // of the payload
  uint64_t checksum;   // XXH3 of the payload, seeded with count
  uint64_t first_seq;  // RECORDS: seq_finish of the first; GAP: how many are missing
  uint64_t instance;   // of the journal: sequence numbers of different instances do not compare
  uint32_t reactor;
  uint32_t reserved;
};
static_assert(sizeof(BlockHeader) == 48 && std::is_trivially_copyable_v<BlockHeader>);
inline constexpr uint32_t BLOCK_BYTES_MAX = 64U << 20;

// One request: 96 bytes.
struct BinaryRecord {
  static constexpr uint32_t TIME_NOT_REACHED = UINT32_MAX;

  int64_t begin_wall_ns;
  uint64_t seq_start;       // low 48 bits; high 16: request number on its connection, saturating
  uint64_t bytes_in;        // low 48 bits; high 16: bytes of the response head, saturating
  uint64_t body_bytes_out;  // low 48 bits; high 16: flags (8), coding (4), version (4)
  uint64_t duration_us;     // low 48 bits; high 16: cache verdict
  uint32_t seq_finish_low;  // low 32 bits; the block's first_seq has the rest
  uint32_t generation;
  uint32_t answer;  // status (10 bits), sub-status (10), reason (12), from the lowest
  uint16_t client_port;
  uint16_t user;    // small table
  uint32_t client;  // large table: "192.0.2.7"
  uint16_t method;  // small table
  uint16_t server;  // small table: "192.0.2.1 8080"
  uint32_t target;  // large table
  uint32_t host;
  uint32_t user_agent;
  uint32_t referer;
  uint32_t first_byte_us;  // TIME_NOT_REACHED where the stage did not happen
  uint32_t queue_us;
  uint16_t site;           // small table
  uint16_t worker_us_low;  // time in the worker: 32 bits in two halves
  uint16_t worker_us_high;
  uint16_t reserved;
};
static_assert(sizeof(BinaryRecord) == 96 && std::is_trivially_copyable_v<BinaryRecord>);

inline constexpr uint64_t LOW_48 = (1ULL << 48) - 1;

}  // namespace penstock
