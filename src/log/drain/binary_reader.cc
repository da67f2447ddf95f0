// Fuzzed by src/log/drain/convert_fuzz.cc
#include "src/log/drain/binary_reader.h"

#include "src/base/assert.h"
#include "src/base/hash.h"

#include <array>
#include <cstring>

namespace penstock {
namespace {

int64_t stage_read(uint32_t us) {
  return us == BinaryRecord::TIME_NOT_REACHED ? AccessEntry::NOT_REACHED : static_cast<int64_t>(us);
}

// Four bits of 10, 11, 20 and 30 are 10, 11, 4 and 14.
constexpr auto VERSIONS = [] {
  std::array<HttpVersion, 16> versions{};
  versions.fill(HttpVersion::UNKNOWN);
  for (const HttpVersion v : {HttpVersion::HTTP_10, HttpVersion::HTTP_11, HttpVersion::HTTP_2, HttpVersion::HTTP_3}) {
    versions[static_cast<size_t>(v) & 15] = v;
  }
  return versions;
}();

}  // namespace

Result<BinaryReader> BinaryReader::open(std::string_view file) {
  BinaryFileHeader header;
  if (file.size() < sizeof(header)) return fail("not a binary access log: too short");
  std::memcpy(&header, file.data(), sizeof(header));
  if (header.magic != BinaryFileHeader::MAGIC) return fail("not a binary access log: wrong magic number");
  if (header.version != 1)
    return fail("binary access log of version " + std::to_string(header.version) + ", expected 1");
  if (header.header_bytes < sizeof(header) || header.header_bytes > file.size()) {
    return fail("binary access log with a header of impossible size");
  }
  return BinaryReader(file.substr(header.header_bytes));
}

bool BinaryReader::block_at_front(Block& block) const {
  if (rest_.size() < sizeof(BlockHeader)) return false;
  BlockHeader& header = block.header;
  std::memcpy(&header, rest_.data(), sizeof(header));
  if (header.magic != BlockHeader::MAGIC || header.bytes > BLOCK_BYTES_MAX) return false;
  if (header.bytes > rest_.size() - sizeof(header)) return false;
  switch (header.kind) {
    case BlockKind::STRINGS_SMALL:
    case BlockKind::STRINGS_LARGE:
      if (header.count > header.bytes / 2) return false;
      break;
    case BlockKind::RECORDS:
      if (uint64_t{header.count} * sizeof(BinaryRecord) != header.bytes) return false;
      break;
    case BlockKind::GAP:
      if (header.bytes != 0) return false;
      break;
    default:
      return false;
  }
  block.payload = rest_.substr(sizeof(header), header.bytes);
  return hash_bytes(block.payload, header.count) == header.checksum;
}

bool BinaryReader::next(Block& block) {
  block = Block{};
  uint64_t skipped = 0;
  while (!rest_.empty()) {
    if (block_at_front(block)) {
      rest_.remove_prefix(sizeof(BlockHeader) + block.header.bytes);
      block.after_damage = skipped > 0;
      skipped_bytes_ += skipped;
      return true;
    }
    // Damage, or the cut end of a file: on to the next place that begins like a block.
    const size_t found = rest_.find(std::string_view(BlockHeader::MAGIC.data(), BlockHeader::MAGIC.size()), 1);
    const size_t step = found == rest_.npos ? rest_.size() : found;
    skipped += step;
    rest_.remove_prefix(step);
  }
  skipped_bytes_ += skipped;
  return false;
}

bool take_string(std::string_view& payload, std::string_view& text) {
  uint16_t size = 0;
  if (payload.size() < sizeof(size)) return false;
  std::memcpy(&size, payload.data(), sizeof(size));
  payload.remove_prefix(sizeof(size));
  if (payload.size() < size) return false;
  text = payload.substr(0, size);
  payload.remove_prefix(size);
  return true;
}

BinaryRecord record_at(const BinaryReader::Block& block, uint32_t index) {
  ASSERT(index < block.header.count);
  BinaryRecord record;
  std::memcpy(&record, block.payload.data() + index * sizeof(BinaryRecord), sizeof(record));
  return record;
}

AccessEntry entry_of(const BinaryRecord& record, const BlockHeader& header) {
  AccessEntry entry;
  set_numbers(entry, record, header);
  return entry;
}

void set_numbers(AccessEntry& entry, const BinaryRecord& record, const BlockHeader& header) {
  const uint64_t bits = record.body_bytes_out >> 48;
  entry.kind = (bits & 0x80) != 0 ? RecordKind::CONNECTION : RecordKind::REQUEST;
  entry.flags = static_cast<uint16_t>(bits & 0x7f);
  entry.coding = static_cast<BodyCoding>(bits >> 8 & 15);
  entry.version = VERSIONS[bits >> 12 & 15];
  entry.reactor = header.reactor;
  entry.begin_wall = record.begin_wall_ns;
  entry.seq_start = record.seq_start & LOW_48;
  entry.request_number = static_cast<uint32_t>(record.seq_start >> 48);
  // Within a block the sequence grows by less than 2^32: the low half says how far from the block's first.
  entry.seq_finish = header.first_seq + (record.seq_finish_low - static_cast<uint32_t>(header.first_seq));
  entry.bytes_in = record.bytes_in & LOW_48;
  entry.head_bytes_out = record.bytes_in >> 48;
  entry.body_bytes_out = record.body_bytes_out & LOW_48;
  entry.duration_us = static_cast<int64_t>(record.duration_us & LOW_48);
  entry.verdict = static_cast<uint16_t>(record.duration_us >> 48);
  entry.generation = record.generation;
  entry.status = static_cast<uint16_t>(record.answer & 1023);
  entry.sub_status = static_cast<uint16_t>(record.answer >> 10 & 1023);
  entry.reason = static_cast<uint16_t>(record.answer >> 20);
  entry.client_port = record.client_port;
  entry.first_byte_us = stage_read(record.first_byte_us);
  entry.queue_us = stage_read(record.queue_us);
  entry.worker_us = stage_read(record.worker_us_low | static_cast<uint32_t>(record.worker_us_high) << 16);
}

}  // namespace penstock
