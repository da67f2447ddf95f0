// LineFormat: an AccessEntry as one line of W3C extended, NCSA combined or JSON.
//
// Used by logd for what it drains and by the converter for what it reads; one owner, no I/O. Each call
// appends exactly one line to the buffer, ended by '\n', with no other '\n' in it.
#pragma once

#include "src/config/values.h"
#include "src/log/drain/entry.h"
#include "src/log/drain/fields.h"
#include "src/log/drain/log_time.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

using LogFormat = LogFormatSetting;  // log.access.format

// The escaping that a line format wants its texts in. REQUIRES: W3C, NCSA or JSON.
[[nodiscard]] Escape escape_of(LogFormat format);

struct LineFormatOptions {
  LogFormat format = LogFormat::W3C;  // W3C, NCSA or JSON
  std::vector<LogField> fields;       // W3C and JSON
  bool utc = true;
  std::string computer_name;  // for s-computername
};

// Bytes with room ahead: grows by doubling, never shrinks.
class LineBuffer {
 public:
  // A place with room for `bytes`; commit() says how many were written.
  [[nodiscard]] char* room(size_t bytes);
  void commit(const char* end) { size_ = static_cast<size_t>(end - bytes_.data()); }
  void append(std::string_view text);
  [[nodiscard]] std::string_view view() const { return {bytes_.data(), size_}; }
  [[nodiscard]] size_t size() const { return size_; }
  void clear() { size_ = 0; }
  void truncate(size_t size) { size_ = size; }  // REQUIRES: size <= size()

 private:
  std::vector<char> bytes_;
  size_t size_ = 0;
};

class LineFormat {
 public:
  explicit LineFormat(LineFormatOptions options);

  // What stands at the start of a file and after each change: the W3C directives; nothing in other formats.
  void header(LineBuffer& out, WallTime now);
  // REQUIRES: entry.texts are escaped by escape_of(format).
  void line(LineBuffer& out, const AccessEntry& entry);
  // `dropped` records are missing here: a #Remark of W3C, an object of kind "gap" in JSON, nothing in NCSA.
  void gap(LineBuffer& out, uint32_t reactor, uint64_t dropped);

 private:
  // A line is pieces: bytes that are the same for a whole second, then the value of a field that is not.
  struct Piece {
    uint32_t literal;  // where in literals_
    uint32_t literal_bytes;
    LogField field;
    uint8_t text;  // which of the entry's texts the value is, or ENTRY_TEXT_COUNT
  };
  struct Patch {  // a text of the second, in literals_
    uint32_t at;
    bool is_date;  // or the time of day
  };

  void make_pieces();
  void end_piece(uint32_t& literal, LogField field);
  void set_second(int64_t unix_seconds);
  [[nodiscard]] size_t bound(const AccessEntry& entry) const;
  char* put_literal(char* out, uint32_t at, uint32_t bytes) const;
  char* pieces(char* out, const AccessEntry& entry);
  char* ncsa(char* out, const AccessEntry& entry);
  char* value(char* out, LogField field, const AccessEntry& entry, size_t mark) const;
  char* stage_time(char* out, int64_t us) const;

  LineFormatOptions options_;
  Escape escape_;
  LogTime time_;
  std::vector<Piece> pieces_;
  std::vector<Patch> patches_;
  std::string literals_;  // those of the pieces, the end of a line, and bytes that a copy in whole words may read
  uint32_t tail_ = 0;     // the end of a line
  uint32_t tail_bytes_ = 0;
  bool splits_target_ = false;
  std::array<uint32_t, ENTRY_TEXT_COUNT> text_uses_{};  // how often a text stands in a line
  size_t fixed_bound_ = 0;
};

}  // namespace penstock
