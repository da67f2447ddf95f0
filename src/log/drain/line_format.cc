#include "src/log/drain/line_format.h"

#include "cache/verdict.h"
#include "src/base/assert.h"
#include "src/http/status.h"
#include "src/log/drain/line_put.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace penstock {
namespace {

constexpr size_t NUMBER_BOUND = 64;  // any field that is not a text: number, date, name of a table

// Literals are copied by words of this size, over their end.
constexpr size_t LITERAL_WORD = 32;

// Codes of a compromised or newer server may name no row.
std::string_view reason_phrase_of(uint16_t code) {
  return code < REASON_COUNT ? REASONS[code].phrase : std::string_view("?");
}
std::string_view reason_name_of(uint16_t code) {
  return code < REASON_COUNT ? REASONS[code].name : std::string_view("?");
}
std::string_view verdict_of(uint16_t code) {
  return code < VERDICT_COUNT ? verdict_code(static_cast<Verdict>(code)) : std::string_view("?");
}

char* put_flags(char* out, uint16_t flags) {
  constexpr std::pair<RecordFlag, char> LETTERS[] = {
      {RECORD_TRUNCATED, 'T'}, {RECORD_KEEP_ALIVE, 'K'}, {RECORD_ABORTED, 'A'}, {RECORD_TRACED, 'R'},
      {RECORD_ABANDONED, 'X'}, {RECORD_SECURE, 'S'},     {RECORD_RESET, 'C'}};
  for (const auto& [flag, letter] : LETTERS) {
    if ((flags & flag) != 0) *out++ = letter;
  }
  return out;
}

// The texts that a field copies, as an index into AccessEntry::texts, or ENTRY_TEXT_COUNT.
size_t text_index(LogField field) {
  switch (field) {
    case LogField::C_IP:
      return ENTRY_CLIENT_IP;
    case LogField::S_IP:
      return ENTRY_SERVER_IP;
    case LogField::S_SITENAME:
      return static_cast<size_t>(Text::site);
    case LogField::CS_USERNAME:
      return static_cast<size_t>(Text::user);
    case LogField::X_CLIENT_SUBJECT:
      return static_cast<size_t>(Text::client_subject);
    case LogField::X_CLIENT_FINGERPRINT:
      return static_cast<size_t>(Text::client_fingerprint);
    case LogField::X_FILTER:
      return static_cast<size_t>(Text::filter);
    case LogField::CS_METHOD:
      return static_cast<size_t>(Text::method);
    case LogField::CS_URI:
    case LogField::CS_URI_STEM:
    case LogField::CS_URI_QUERY:
      return static_cast<size_t>(Text::target);
    case LogField::CS_HOST:
      return static_cast<size_t>(Text::host);
    case LogField::CS_USER_AGENT:
      return static_cast<size_t>(Text::user_agent);
    case LogField::CS_REFERER:
      return static_cast<size_t>(Text::referer);
    default:
      return ENTRY_TEXT_COUNT;
  }
}

}  // namespace

Escape escape_of(LogFormat format) {
  switch (format) {
    case LogFormat::NCSA:
      return Escape::NCSA;
    case LogFormat::JSON:
      return Escape::JSON;
    default:
      return Escape::W3C;
  }
}

char* LineBuffer::room(size_t bytes) {
  if (bytes_.size() - size_ < bytes) bytes_.resize(std::max(bytes_.size() * 2, size_ + bytes));
  return bytes_.data() + size_;
}

void LineBuffer::append(std::string_view text) {
  char* out = room(text.size());
  commit(put(out, text));
}

LineFormat::LineFormat(LineFormatOptions options)
    : options_(std::move(options)), escape_(escape_of(options_.format)), time_(options_.utc) {
  ASSERT(options_.format == LogFormat::W3C || options_.format == LogFormat::NCSA || options_.format == LogFormat::JSON);
  if (options_.format != LogFormat::NCSA) {
    make_pieces();
    return;
  }
  for (const size_t i :
       {ENTRY_CLIENT_IP, static_cast<size_t>(Text::user), static_cast<size_t>(Text::method),
        static_cast<size_t>(Text::target), static_cast<size_t>(Text::referer), static_cast<size_t>(Text::user_agent)}) {
    text_uses_[i] = 1;
  }
  fixed_bound_ = 4 * NUMBER_BOUND;
  // The user stands outside quotes: its spaces are escaped on the way out, four bytes for one.
  text_uses_[static_cast<size_t>(Text::user)] = 4;
}

// The literal from `literal` to the end of literals_, and what follows it; the next one begins there.
void LineFormat::end_piece(uint32_t& literal, LogField field) {
  const auto end = static_cast<uint32_t>(literals_.size());
  const size_t index = text_index(field);
  const bool splits = field == LogField::CS_URI_STEM || field == LogField::CS_URI_QUERY;
  pieces_.push_back({literal, end - literal, field, static_cast<uint8_t>(splits ? ENTRY_TEXT_COUNT : index)});
  literal = end;
  splits_target_ |= splits;
  if (index < ENTRY_TEXT_COUNT) ++text_uses_[index];
}

void LineFormat::make_pieces() {
  const bool json = options_.format == LogFormat::JSON;
  const auto patch = [this](bool is_date, size_t bytes) {
    patches_.push_back({static_cast<uint32_t>(literals_.size()), is_date});
    literals_.append(bytes, '0');
  };
  uint32_t literal = 0;
  for (size_t i = 0; i < options_.fields.size(); ++i) {
    const LogField field = options_.fields[i];
    const LogFieldInfo& info = LOG_FIELD_INFO[static_cast<size_t>(field)];
    const bool quoted = json && info.type != LogFieldType::NUMBER;
    if (json) literals_.append(i == 0 ? "{\"" : ",\"").append(info.json).append(quoted ? "\":\"" : "\":");
    if (!json && i > 0) literals_ += ' ';
    if (field == LogField::DATE || field == LogField::TIMESTAMP) patch(true, time_.date().size());
    if (field == LogField::TIMESTAMP) literals_ += 'T';
    if (field == LogField::TIME || field == LogField::TIMESTAMP) {
      patch(false, time_.time().size());
      literals_ += '.';
    }
    if (field == LogField::S_COMPUTERNAME) {
      std::string name(options_.computer_name.size() * ESCAPE_GROWTH_MAX, '\0');
      name.resize(escape_text(escape_, options_.computer_name, name.data()));
      literals_.append(name.empty() && !json ? "-" : name);
    } else if (field != LogField::DATE) {
      end_piece(literal, field);
    }
    if (quoted) literals_ += '"';
  }
  if (json) literals_ += '}';
  tail_ = literal;
  tail_bytes_ = static_cast<uint32_t>(literals_.size()) - literal;
  // A '#' at the start becomes three bytes, and a newline ends the line.
  fixed_bound_ = literals_.size() + pieces_.size() * NUMBER_BOUND + LITERAL_WORD + 8;
  literals_.append(LITERAL_WORD, '\0');
}

void LineFormat::set_second(int64_t unix_seconds) {
  if (!time_.set(unix_seconds)) return;
  for (const Patch& patch : patches_) {
    const std::string_view text = patch.is_date ? time_.date() : time_.time();
    text.copy(literals_.data() + patch.at, text.size());
  }
}

void LineFormat::header(LineBuffer& out, WallTime now) {
  if (options_.format != LogFormat::W3C) return;
  set_second(now.unix_seconds());
  std::string text = "#Software: penstock\n#Version: 1.0\n#Date: ";
  text.append(time_.date()).append(" ").append(time_.time()).append("\n#Fields:");
  for (const LogField field : options_.fields) text.append(" ").append(LOG_FIELD_INFO[static_cast<size_t>(field)].w3c);
  text += '\n';
  out.append(text);
}

void LineFormat::gap(LineBuffer& out, uint32_t reactor, uint64_t dropped) {
  if (options_.format == LogFormat::W3C) {
    out.append("#Remark: " + std::to_string(dropped) + " records of reactor " + std::to_string(reactor) +
               " were dropped here\n");
  } else if (options_.format == LogFormat::JSON) {
    out.append("{\"kind\":\"gap\",\"reactor\":" + std::to_string(reactor) + ",\"dropped\":" + std::to_string(dropped) +
               "}\n");
  }
}

// No line is longer: the fixed parts and each text as often as it is used.
size_t LineFormat::bound(const AccessEntry& entry) const {
  size_t bytes = fixed_bound_;
  for (size_t i = 0; i < ENTRY_TEXT_COUNT; ++i) bytes += entry.texts[i].size() * text_uses_[i];
  return bytes;
}

void LineFormat::line(LineBuffer& out, const AccessEntry& entry) {
  set_second(WallTime{entry.begin_wall}.unix_seconds());
  char* at = out.room(bound(entry));
  at = options_.format == LogFormat::NCSA ? ncsa(at, entry) : pieces(at, entry);
  *at++ = '\n';
  out.commit(at);
}

char* LineFormat::stage_time(char* out, int64_t us) const {
  if (us >= 0) return put_number(out, static_cast<uint64_t>(us));
  return options_.format == LogFormat::JSON ? put(out, "null") : out;
}

// What a field has behind its literal and is no whole text; nothing where it has none. NUMBERs of JSON are never empty.
// `mark` is where the target has its first '?'.
char* LineFormat::value(char* out, LogField field, const AccessEntry& entry, size_t mark) const {
  const auto sub_us = [&entry] {
    const auto ns = static_cast<int32_t>(entry.begin_wall % 1'000'000'000);
    return static_cast<uint32_t>(ns < 0 ? ns + 1'000'000'000 : ns) / 1000;
  };
  const std::string_view target = entry.text(Text::target);
  switch (field) {
    case LogField::TIME:
      return put_3_digits(out, sub_us() / 1000);
    case LogField::TIMESTAMP:
      return put(put_6_digits(out, sub_us()), time_.zone());
    case LogField::C_PORT:
      return put_number(out, entry.client_port);
    case LogField::S_PORT:
      return put_number(out, entry.server_port);
    case LogField::CS_URI_STEM:
      return put(out, target.substr(0, mark));
    case LogField::CS_URI_QUERY:
      return mark == target.npos ? out : put(out, target.substr(mark + 1));
    case LogField::CS_VERSION:
      return put(out, version_text(entry.version));
    case LogField::SC_STATUS:
      return put_number(out, entry.status);
    case LogField::SC_SUBSTATUS:
      return put_number(out, entry.sub_status);
    case LogField::X_REASON:
      return put(out, reason_phrase_of(entry.reason));
    case LogField::X_REASON_NAME:
      return put(out, reason_name_of(entry.reason));
    case LogField::X_CACHE:
      return put(out, verdict_of(entry.verdict));
    case LogField::SC_BYTES:
      return put_number(out, entry.head_bytes_out + entry.body_bytes_out);
    case LogField::X_HEAD_BYTES:
      return put_number(out, entry.head_bytes_out);
    case LogField::X_BODY_BYTES:
      return put_number(out, entry.body_bytes_out);
    case LogField::CS_BYTES:
      return put_number(out, entry.bytes_in);
    case LogField::TIME_TAKEN:
      out = put_number(out, static_cast<uint64_t>(entry.duration_us) / 1000);
      return put_3_digits(put(out, '.'), static_cast<uint32_t>(static_cast<uint64_t>(entry.duration_us) % 1000));
    case LogField::X_TIME_RECEIVE:
      return stage_time(out, entry.receive_us);
    case LogField::X_TIME_ROUTE:
      return stage_time(out, entry.route_us);
    case LogField::X_TIME_QUEUE:
      return stage_time(out, entry.queue_us);
    case LogField::X_TIME_WORKER:
      return stage_time(out, entry.worker_us);
    case LogField::X_TIME_FIRST_BYTE:
      return stage_time(out, entry.first_byte_us);
    case LogField::X_TIME_SEND:
      return stage_time(out, entry.send_us);
    case LogField::X_TIME_ACK:
      return stage_time(out, entry.ack_us);
    case LogField::X_CODING:
      return put(out, coding_text(entry.coding));
    case LogField::X_CONNECTION:
      return put_number(out, entry.connection);
    case LogField::X_REQUEST:
      return put_number(out, entry.request_number);
    case LogField::X_REACTOR:
      return put_number(out, entry.reactor);
    case LogField::X_SEQ_START:
      return put_number(out, entry.seq_start);
    case LogField::X_SEQ_FINISH:
      return put_number(out, entry.seq_finish);
    case LogField::X_START:
      return put_number(out, entry.start_ns);
    case LogField::X_FINISH:
      return put_number(out, entry.finish_ns);
    case LogField::X_GENERATION:
      return put_number(out, entry.generation);
    case LogField::X_KIND:
      return put(out, entry.kind == RecordKind::CONNECTION ? "connection" : "request");
    case LogField::X_FLAGS:
      return put_flags(out, entry.flags);
    case LogField::X_SCHEME:
      return put(out, (entry.flags & RECORD_SECURE) != 0 ? "https" : "http");
    default:
      return out;
  }
}

// REQUIRES: room for a word more.
inline char* LineFormat::put_literal(char* out, uint32_t at, uint32_t bytes) const {
  const char* from = literals_.data() + at;
  std::memcpy(out, from, LITERAL_WORD);
  if (bytes > LITERAL_WORD) std::memcpy(out + LITERAL_WORD, from + LITERAL_WORD, bytes - LITERAL_WORD);
  return out + bytes;
}

char* LineFormat::pieces(char* out, const AccessEntry& entry) {
  char* const start = out;
  const bool dashes = options_.format == LogFormat::W3C;
  const size_t mark = splits_target_ ? entry.text(Text::target).find('?') : std::string_view::npos;
  for (const Piece& piece : pieces_) {
    char* const before = put_literal(out, piece.literal, piece.literal_bytes);
    out =
        piece.text < ENTRY_TEXT_COUNT ? put(before, entry.texts[piece.text]) : value(before, piece.field, entry, mark);
    if (dashes && out == before) *out++ = '-';
  }
  out = put_literal(out, tail_, tail_bytes_);
  // A line of W3C that begins with '#' would be a directive.
  if (dashes && out != start && *start == '#') {
    std::memmove(start + 3, start + 1, static_cast<size_t>(out - start - 1));
    std::memcpy(start, "%23", 3);
    out += 2;
  }
  return out;
}

// host - user [time] "request" status bytes "referer" "user agent"
char* LineFormat::ncsa(char* out, const AccessEntry& entry) {
  const auto or_dash = [](std::string_view text) { return text.empty() ? std::string_view("-") : text; };
  out = put(put(out, entry.texts[ENTRY_CLIENT_IP]), " - ");
  for (const char c : or_dash(entry.text(Text::user))) out = c == ' ' ? put(out, "\\x20") : put(out, c);
  out = put(put(put(out, " ["), time_.ncsa()), "] \"");
  if (entry.text(Text::method).empty()) {
    out = put(out, '-');
  } else {
    out = put(put(put(out, entry.text(Text::method)), ' '), entry.text(Text::target));
    if (const std::string_view version = version_text(entry.version); !version.empty()) {
      out = put(put(out, ' '), version);
    }
  }
  out = put_3_digits(put(out, "\" "), entry.status % 1000U);
  out = put(out, ' ');
  out = entry.body_bytes_out == 0 ? put(out, '-') : put_number(out, entry.body_bytes_out);
  out = put(put(out, " \""), or_dash(entry.text(Text::referer)));
  return put(put(put(out, "\" \""), or_dash(entry.text(Text::user_agent))), '"');
}

}  // namespace penstock
