#include "src/log/drain/entry.h"

#include "src/log/journal_reader.h"

#include <algorithm>
#include <string>

namespace penstock {
namespace {

// Microseconds between two moments; NOT_REACHED where either did not happen or they are out of order.
int64_t gap_us(const EndRecord& head, Moment from, Moment to) {
  const int64_t a = head.moments[static_cast<size_t>(from)];
  const int64_t b = head.moments[static_cast<size_t>(to)];
  if (a <= 0 || b < a) return AccessEntry::NOT_REACHED;
  return (b - a) / 1000;
}

}  // namespace

AccessEntry entry_of(const EndRecord& head, uint32_t reactor) {
  AccessEntry entry;
  entry.kind = head.kind;
  entry.flags = head.flags;
  entry.reactor = reactor;
  entry.seq_start = head.seq_start;
  entry.seq_finish = head.seq_finish;
  entry.begin_wall = head.begin_wall;
  entry.duration_us = std::max<int64_t>(
      0, gap_us(head, head.kind == RecordKind::REQUEST ? Moment::FIRST_BYTE : Moment::ACCEPT, Moment::FINISH));
  entry.receive_us = gap_us(head, Moment::FIRST_BYTE, Moment::HEAD_COMPLETE);
  entry.queue_us = gap_us(head, Moment::QUEUED, Moment::DEQUEUED);
  entry.worker_us = gap_us(head, Moment::DEQUEUED, Moment::FIRST_BYTE_OUT);
  entry.first_byte_us = gap_us(head, Moment::FIRST_BYTE, Moment::FIRST_BYTE_OUT);
  entry.send_us = gap_us(head, Moment::FIRST_BYTE_OUT, Moment::LAST_BYTE_OUT);
  entry.ack_us = gap_us(head, Moment::LAST_BYTE_OUT, Moment::FINISH);
  entry.bytes_in = head.bytes_in;
  entry.head_bytes_out = head.head_bytes_out;
  entry.body_bytes_out = head.body_bytes_out;
  entry.connection = head.connection;
  entry.request_number = head.request_number;
  entry.generation = head.generation;
  entry.status = head.status;
  entry.sub_status = head.sub_status;
  entry.reason = head.reason;
  entry.verdict = head.verdict;
  entry.client_port = head.client.port;
  entry.server_port = head.server.port;
  entry.version = head.version;
  entry.coding = head.coding;
  return entry;
}

EntryTexts::EntryTexts() : buffer_(RECORD_BYTES_MAX * ESCAPE_GROWTH_MAX + 128) {}

void EntryTexts::fill(AccessEntry& entry, const EndRecordView& record, Escape escape) {
  char* out = buffer_.data();
  for (size_t i = 0; i < TEXT_COUNT; ++i) {
    const size_t size = escape_text(escape, record.texts[i], out);
    entry.texts[i] = {out, size};
    out += size;
  }
  const JournalAddress* addresses[] = {&record.head.client, &record.head.server};
  for (size_t i = 0; i < 2; ++i) {
    const std::string text = address_text(*addresses[i]);
    entry.texts[ENTRY_CLIENT_IP + i] = {out, text.copy(out, text.size())};
    out += text.size();
  }
}

std::string_view version_text(HttpVersion version) {
  switch (version) {
    case HttpVersion::HTTP_10:
      return "HTTP/1.0";
    case HttpVersion::HTTP_11:
      return "HTTP/1.1";
    case HttpVersion::HTTP_2:
      return "HTTP/2";
    case HttpVersion::HTTP_3:
      return "HTTP/3";
    default:
      return {};
  }
}

std::string_view coding_text(BodyCoding coding) {
  switch (coding) {
    case BodyCoding::GZIP:
      return "gzip";
    case BodyCoding::BROTLI:
      return "br";
    case BodyCoding::ZSTD:
      return "zstd";
    default:
      return {};
  }
}

}  // namespace penstock
