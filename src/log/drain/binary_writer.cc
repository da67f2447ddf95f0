#include "src/log/drain/binary_writer.h"

#include "src/base/hash.h"
#include "src/log/drain/entry.h"
#include "src/log/journal_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace penstock {
namespace {

static_assert(std::endian::native == std::endian::little, "the binary log is little-endian");

constexpr uint32_t SMALL_IDS_MAX = 65535;
constexpr uint32_t LARGE_IDS_MAX = 1U << 22;
constexpr size_t SMALL_BYTES_MAX = 16U << 20;
constexpr size_t LARGE_BYTES_MAX = 256U << 20;
constexpr size_t RECORDS_PER_BLOCK_MAX = 65536;
constexpr size_t STRING_BYTES_PER_BLOCK_MAX = 16U << 20;
static_assert(STRING_BYTES_PER_BLOCK_MAX + 65536 <= BLOCK_BYTES_MAX &&
              RECORDS_PER_BLOCK_MAX * sizeof(BinaryRecord) <= BLOCK_BYTES_MAX);

uint64_t pack_48(uint64_t low, uint64_t high) {
  return std::min(low, LOW_48) | std::min<uint64_t>(high, UINT16_MAX) << 48;
}

uint32_t stage_written(int64_t us) {
  if (us < 0) return BinaryRecord::TIME_NOT_REACHED;
  return static_cast<uint32_t>(std::min<int64_t>(us, BinaryRecord::TIME_NOT_REACHED - 1));
}

uint32_t pack_answer(const AccessEntry& entry) {
  return std::min<uint32_t>(entry.status, 1023) | std::min<uint32_t>(entry.sub_status, 1023) << 10 |
         std::min<uint32_t>(entry.reason, 4095) << 20;
}

}  // namespace

BinaryWriter::BinaryWriter(uint64_t hash_seed)
    : small_(SMALL_IDS_MAX, SMALL_BYTES_MAX, hash_seed), large_(LARGE_IDS_MAX, LARGE_BYTES_MAX, hash_seed) {}

void BinaryWriter::start(LineBuffer& out, WallTime now, bool file_is_empty) {
  reset();
  if (!file_is_empty) return;
  const BinaryFileHeader header{.magic = BinaryFileHeader::MAGIC,
                                .version = 1,
                                .header_bytes = sizeof(BinaryFileHeader),
                                .created_wall_ns = now.ns,
                                .reserved = 0};
  out.append({reinterpret_cast<const char*>(&header), sizeof(header)});
}

void BinaryWriter::reset() {
  small_.clear();
  large_.clear();
  small_written_ = 0;
  large_written_ = 0;
  records_.clear();
  reset_pending_ = true;
}

void BinaryWriter::put_block(LineBuffer& out, BlockHeader header, std::string_view payload) {
  header.magic = BlockHeader::MAGIC;
  header.bytes = static_cast<uint32_t>(payload.size());
  header.checksum = hash_bytes(payload, header.count);
  header.instance = instance_;
  header.reactor = reactor_;
  if (reset_pending_) header.flags |= BLOCK_RESET;
  reset_pending_ = false;
  out.append({reinterpret_cast<const char*>(&header), sizeof(header)});
  out.append(payload);
}

void BinaryWriter::put_strings(LineBuffer& out, BlockKind kind, const StringTable& table, uint32_t& written) {
  while (written < table.count()) {
    BlockHeader header{};
    header.kind = kind;
    payload_.clear();
    while (written < table.count() && payload_.size() < STRING_BYTES_PER_BLOCK_MAX) {
      const std::string_view text = table.at(++written);
      const auto size = static_cast<uint16_t>(text.size());
      payload_.append(reinterpret_cast<const char*>(&size), sizeof(size)).append(text);
      ++header.count;
    }
    put_block(out, header, payload_);
  }
}

void BinaryWriter::finish(LineBuffer& out) {
  if (records_.empty()) return;
  put_strings(out, BlockKind::STRINGS_SMALL, small_, small_written_);
  put_strings(out, BlockKind::STRINGS_LARGE, large_, large_written_);
  BlockHeader header{};
  header.kind = BlockKind::RECORDS;
  header.count = static_cast<uint32_t>(records_.size());
  header.first_seq = first_seq_;
  put_block(out, header, {reinterpret_cast<const char*>(records_.data()), records_.size() * sizeof(BinaryRecord)});
  records_.clear();
}

void BinaryWriter::gap(LineBuffer& out, uint32_t reactor, uint64_t instance, uint64_t dropped) {
  finish(out);
  reactor_ = reactor;
  instance_ = instance;
  BlockHeader header{};
  header.kind = BlockKind::GAP;
  header.first_seq = dropped;
  put_block(out, header, {});
}

// False where a table is full.
bool BinaryWriter::convert(const EndRecordView& view, BinaryRecord& out) {
  const AccessEntry entry = entry_of(view.head, 0);
  const auto small = [&](std::string_view text) { return small_.id_of(text); };
  const auto large = [&](std::string_view text) { return large_.id_of(text); };
  const auto method = small(view.text(Text::method));
  const auto user = small(view.text(Text::user));
  const auto site = small(view.text(Text::site));
  const auto server = small(address_text(view.head.server) + ' ' + std::to_string(view.head.server.port));
  const auto client = large(address_text(view.head.client));
  const auto target = large(view.text(Text::target));
  const auto host = large(view.text(Text::host));
  const auto user_agent = large(view.text(Text::user_agent));
  const auto referer = large(view.text(Text::referer));
  if (!method || !user || !site || !server || !client || !target || !host || !user_agent || !referer) return false;

  out = BinaryRecord{};
  out.begin_wall_ns = entry.begin_wall;
  out.seq_start = pack_48(entry.seq_start, entry.request_number);
  out.bytes_in = pack_48(entry.bytes_in, entry.head_bytes_out);
  const bool is_connection = entry.kind == RecordKind::CONNECTION;
  const uint64_t bits = (entry.flags & 0x7fU) | (is_connection ? 0x80U : 0U) |
                        (static_cast<uint64_t>(entry.coding) & 15) << 8 |
                        (static_cast<uint64_t>(entry.version) & 15) << 12;
  out.body_bytes_out = pack_48(entry.body_bytes_out, bits);
  out.duration_us = pack_48(static_cast<uint64_t>(entry.duration_us), entry.verdict);
  out.seq_finish_low = static_cast<uint32_t>(entry.seq_finish);
  out.generation = entry.generation;
  out.answer = pack_answer(entry);
  out.client_port = entry.client_port;
  out.user = static_cast<uint16_t>(*user);
  out.client = *client;
  out.method = static_cast<uint16_t>(*method);
  out.server = static_cast<uint16_t>(*server);
  out.target = *target;
  out.host = *host;
  out.user_agent = *user_agent;
  out.referer = *referer;
  out.first_byte_us = stage_written(entry.first_byte_us);
  out.queue_us = stage_written(entry.queue_us);
  out.site = static_cast<uint16_t>(*site);
  const uint32_t worker = stage_written(entry.worker_us);
  out.worker_us_low = static_cast<uint16_t>(worker);
  out.worker_us_high = static_cast<uint16_t>(worker >> 16);
  return true;
}

void BinaryWriter::add(LineBuffer& out, const EndRecordView& view, uint32_t reactor, uint64_t instance) {
  const bool other_ring = reactor != reactor_ || instance != instance_;
  if (!records_.empty() && (other_ring || records_.size() >= RECORDS_PER_BLOCK_MAX)) finish(out);
  reactor_ = reactor;
  instance_ = instance;
  BinaryRecord record;
  if (!convert(view, record)) {
    finish(out);
    reset();
    if (!convert(view, record)) return;  // cannot be: one record fits into empty tables
  }
  if (records_.empty()) first_seq_ = view.head.seq_finish;
  records_.push_back(record);
}

}  // namespace penstock
