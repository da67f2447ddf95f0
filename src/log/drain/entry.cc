#include "src/log/drain/entry.h"

#include "src/log/journal_reader.h"

#include <algorithm>
#include <string>
#include <utility>

namespace penstock {
namespace {

// The stages of a request, each from its own moment to the next one that was reached.
constexpr std::pair<Moment, int64_t AccessEntry::*> STAGES[] = {
    {Moment::FIRST_BYTE, &AccessEntry::receive_us},  {Moment::HEAD_COMPLETE, &AccessEntry::route_us},
    {Moment::QUEUED, &AccessEntry::queue_us},        {Moment::DEQUEUED, &AccessEntry::worker_us},
    {Moment::FIRST_BYTE_OUT, &AccessEntry::send_us}, {Moment::LAST_BYTE_OUT, &AccessEntry::ack_us}};

int64_t moment_of(const EndRecord& head, Moment moment) { return head.moments[static_cast<size_t>(moment)]; }

// Each is rounded by where it ends, so that together they are the whole to the microsecond. Moments are of one clock
// but not read at once: one that seems to lie before the one before it lies there.
void set_times(AccessEntry& entry, const EndRecord& head) {
  const int64_t start = moment_of(head, head.kind == RecordKind::REQUEST ? Moment::FIRST_BYTE : Moment::ACCEPT);
  const int64_t finish = std::max(start, moment_of(head, Moment::FINISH));
  if (start <= 0) return;
  const auto since_start = [&](int64_t moment) { return (std::clamp(moment, start, finish) - start) / 1000; };
  entry.duration_us = since_start(finish);
  if (const int64_t first = moment_of(head, Moment::FIRST_BYTE_OUT); first > 0)
    entry.first_byte_us = since_start(first);
  if (head.kind != RecordKind::REQUEST) return;
  int64_t AccessEntry::*stage = nullptr;
  int64_t began = 0;
  for (const auto& [moment, member] : STAGES) {
    const int64_t at = moment_of(head, moment);
    if (at <= 0) continue;
    const int64_t begins = std::max(began, since_start(at));
    if (stage != nullptr) entry.*stage = begins - began;
    began = begins;
    stage = member;
  }
  if (stage != nullptr) entry.*stage = entry.duration_us - began;
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
  entry.start_ns = static_cast<uint64_t>(std::max<int64_t>(head.begin_mono, 0));
  entry.finish_ns =
      std::max(entry.start_ns, static_cast<uint64_t>(std::max<int64_t>(moment_of(head, Moment::FINISH), 0)));
  set_times(entry, head);
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
