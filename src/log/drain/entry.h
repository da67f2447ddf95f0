// AccessEntry: one request as a log tells it, between its source (a finish record of the journal, a record
// of a binary log) and its form (a line). Numbers are ready, strings are already escaped for the form.
#pragma once

#include "src/log/drain/escape.h"
#include "src/log/drain/fields.h"
#include "src/log/journal_abi.h"
#include "src/log/ring_reader.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace penstock {

// Strings of an entry: those of the finish record, then two addresses.
inline constexpr size_t ENTRY_CLIENT_IP = TEXT_COUNT;
inline constexpr size_t ENTRY_SERVER_IP = TEXT_COUNT + 1;
inline constexpr size_t ENTRY_TEXT_COUNT = TEXT_COUNT + 2;

struct AccessEntry {
  static constexpr int64_t NOT_REACHED = -1;

  RecordKind kind = RecordKind::REQUEST;
  uint16_t flags = 0;  // RecordFlag
  uint32_t reactor = 0;
  uint64_t seq_start = 0;
  uint64_t seq_finish = 0;
  int64_t begin_wall = 0;  // ns since the epoch
  uint64_t start_ns = 0;   // monotonic, as is finish_ns: one clock for all reactors and servers
  uint64_t finish_ns = 0;
  int64_t duration_us = 0;
  int64_t receive_us =
      NOT_REACHED;  // these: NOT_REACHED where a stage did not happen; all others together: duration_us
  int64_t route_us = NOT_REACHED;
  int64_t queue_us = NOT_REACHED;
  int64_t worker_us = NOT_REACHED;
  int64_t send_us = NOT_REACHED;
  int64_t ack_us = NOT_REACHED;
  int64_t first_byte_us = NOT_REACHED;  // not one of them: from the start to the first byte out
  uint64_t bytes_in = 0;
  uint64_t head_bytes_out = 0;
  uint64_t body_bytes_out = 0;
  uint64_t connection = 0;
  uint32_t request_number = 0;
  uint32_t generation = 0;
  uint16_t status = 0;
  uint16_t sub_status = 0;
  uint16_t reason = 0;
  uint16_t verdict = 0;
  uint16_t client_port = 0;
  uint16_t server_port = 0;
  HttpVersion version = HttpVersion::UNKNOWN;
  BodyCoding coding = BodyCoding::IDENTITY;
  std::array<std::string_view, ENTRY_TEXT_COUNT> texts;

  [[nodiscard]] std::string_view text(Text which) const { return texts[static_cast<size_t>(which)]; }
};

// The numbers of a finish record. `texts` are left empty: they are the form's business.
[[nodiscard]] AccessEntry entry_of(const EndRecord& head, uint32_t reactor);

// Escapes the strings of finish records into a buffer of its own.
class EntryTexts {
 public:
  EntryTexts();
  // Fills entry.texts from `record`; they last until the next call.
  void fill(AccessEntry& entry, const EndRecordView& record, Escape escape);

 private:
  std::vector<char> buffer_;
};

// What a field is where it is a whole number that stands in the record as it is; nothing for all others. `Record`:
// AccessEntry or EndRecord, which name such numbers alike.
template <class Record>
[[nodiscard]] constexpr std::optional<uint64_t> whole_number(LogField field, const Record& record) {
  switch (field) {
    case LogField::SC_STATUS:
      return record.status;
    case LogField::SC_SUBSTATUS:
      return record.sub_status;
    case LogField::SC_BYTES:
      return record.head_bytes_out + record.body_bytes_out;
    case LogField::X_HEAD_BYTES:
      return record.head_bytes_out;
    case LogField::X_BODY_BYTES:
      return record.body_bytes_out;
    case LogField::CS_BYTES:
      return record.bytes_in;
    case LogField::X_CONNECTION:
      return record.connection;
    case LogField::X_REQUEST:
      return record.request_number;
    case LogField::X_SEQ_START:
      return record.seq_start;
    case LogField::X_SEQ_FINISH:
      return record.seq_finish;
    case LogField::X_GENERATION:
      return record.generation;
    default:
      return std::nullopt;
  }
}

// "HTTP/1.1"; "" where unknown.
[[nodiscard]] std::string_view version_text(HttpVersion version);
// "gzip", "br", "zstd"; "" for identity and for a code that is none.
[[nodiscard]] std::string_view coding_text(BodyCoding coding);

}  // namespace penstock
