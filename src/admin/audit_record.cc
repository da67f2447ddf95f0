#include "src/admin/audit_record.h"

#include <algorithm>
#include <charconv>

namespace penstock {
namespace {

constexpr size_t NAME_BYTES_MAX = 4096;  // of what a process chose

template <typename Number>
bool read_number(std::string_view text, Number& to, int base = 10) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, to, base);
  return error == std::errc() && stop == end && !text.empty();
}

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// audit_log_untrustedstring(): quoted as it is, or, with bytes that a quoted one cannot have, in hexadecimal.
std::string decoded(std::string_view value, bool quoted) {
  std::string out;
  if (quoted || value.size() % 2 != 0) return std::string(value.substr(0, NAME_BYTES_MAX));
  for (size_t i = 0; i < value.size() && out.size() < NAME_BYTES_MAX; i += 2) {
    const int high = nibble(value[i]);
    const int low = nibble(value[i + 1]);
    if (high < 0 || low < 0) return std::string(value.substr(0, NAME_BYTES_MAX));  // a word: <no_memory>
    out += static_cast<char>(high * 16 + low);
  }
  return out;
}

struct Field {
  std::string_view name, value;
  bool quoted = false;
};

// Takes the next NAME=VALUE off `text`; false: there is none.
bool next_field(std::string_view& text, Field& field) {
  while (true) {
    while (text.starts_with(' ')) text.remove_prefix(1);
    const size_t end = std::min(text.find(' '), text.size());
    const size_t equals = text.substr(0, end).find('=');
    if (equals == std::string_view::npos) {  // a word by itself
      if (end == text.size()) return false;
      text.remove_prefix(end);
      continue;
    }
    field.name = text.substr(0, equals);
    text.remove_prefix(equals + 1);
    field.quoted = text.starts_with('"');
    if (field.quoted) text.remove_prefix(1);
    const size_t stop = std::min(text.find(field.quoted ? '"' : ' '), text.size());
    field.value = text.substr(0, stop);
    text.remove_prefix(std::min(stop + (field.quoted ? 1 : 0), text.size()));
    return true;
  }
}

// "audit(1729738800.268:30): "
bool take_stamp(std::string_view& text, AuditRecord& record) {
  constexpr std::string_view BEGIN = "audit(";
  if (!text.starts_with(BEGIN)) return false;
  text.remove_prefix(BEGIN.size());
  const size_t dot = text.find('.');
  const size_t colon = text.find(':');
  const size_t end = text.find(')');
  if (dot >= colon || colon >= end || end == std::string_view::npos) return false;
  constexpr int64_t SECONDS_MAX = int64_t{1} << 40;
  int64_t whole = 0;
  int64_t ms = 0;
  const bool fits = read_number(text.substr(0, dot), whole) && whole >= 0 && whole < SECONDS_MAX &&
                    read_number(text.substr(dot + 1, colon - dot - 1), ms) && ms >= 0 && ms < 1000 &&
                    read_number(text.substr(colon + 1, end - colon - 1), record.serial);
  if (!fits) return false;
  record.unix_ms = whole * 1000 + ms;
  text.remove_prefix(std::min(end + 2, text.size()));
  return true;
}

void take_access(const Field& field, AuditRecord& record) {
  if (field.name == "blockers") {
    record.denied = field.value.substr(0, NAME_BYTES_MAX);
  } else if (field.name == "path" || field.name == "name") {
    record.object = decoded(field.value, field.quoted);
  } else if (field.name == "daddr" || field.name == "saddr") {
    record.object = field.value.substr(0, NAME_BYTES_MAX);
  } else if (field.name == "dest" || field.name == "src") {
    record.object += (record.object.empty() ? "port " : " port ") + std::string(field.value.substr(0, 16));
  } else if (field.name == "opid") {
    record.object = "process " + std::string(field.value.substr(0, 16));
  }
}

}  // namespace

std::optional<AuditRecord> parse_audit_record(uint16_t type, std::string_view text) {
  AuditRecord record;
  record.type = type;
  const bool denial = type == AUDIT_RECORD_LANDLOCK_ACCESS;
  const bool domain = type == AUDIT_RECORD_LANDLOCK_DOMAIN;
  if (!denial && !domain && type != AUDIT_RECORD_SYSCALL && type != AUDIT_RECORD_END) return std::nullopt;
  while (!text.empty() && (text.back() == '\0' || text.back() == '\n')) text.remove_suffix(1);
  if (!take_stamp(text, record)) return std::nullopt;
  Field field;
  while (next_field(text, field)) {
    if (field.name == "domain" && !read_number(field.value, record.domain, 16)) return std::nullopt;
    if (denial) take_access(field, record);
    if (domain && field.name == "status") record.gone = field.value == "deallocated";
    if (denial) continue;  // a pid there were somebody else's
    if (field.name == "pid" && !read_number(field.value, record.pid)) return std::nullopt;
    uid_t uid = 0;
    if (field.name == "uid" && read_number(field.value, uid)) record.uid = uid;
  }
  if ((denial || domain) && record.domain == 0) return std::nullopt;
  return record;
}

}  // namespace penstock
