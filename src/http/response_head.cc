#include "src/http/response_head.h"

#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/http/syntax.h"

namespace penstock {
namespace {

constexpr std::string_view STATUS_START = "HTTP/1.1 ";
constexpr std::string_view DATE_START = "\r\nDate: ";

bool is_field_value(std::string_view value) {
  for (const char c : value) {
    if (!is_syntax(c, SYNTAX_VALUE)) return false;
  }
  return true;
}

char* append(char* at, std::string_view text) {
  return at + text.copy(at, text.size());  // memcpy, but for an empty view
}

}  // namespace

std::string_view server_header_value(ServerHeaderMode mode) {
  switch (mode) {
    case ServerHeaderMode::FULL:
      return "penstock/" PENSTOCK_VERSION;
    case ServerHeaderMode::PRODUCT:
      return "penstock";
    case ServerHeaderMode::NONE:
      break;
  }
  return {};
}

size_t date_offset(uint16_t status) {
  return STATUS_START.size() + 3 + 1 + status_phrase(status).size() + DATE_START.size();
}

char* ResponseHeadWriter::claim(size_t size) {
  ok_ = ok_ && out_.size() - size_ >= size;
  if (!ok_) return nullptr;
  char* at = out_.data() + size_;
  size_ += size;
  return at;
}

ResponseHeadWriter::ResponseHeadWriter(std::span<char> out, uint16_t status, int64_t unix_seconds,
                                       ServerHeaderMode server)
    : out_(out) {
  ASSERT(status >= 100 && status <= 999);
  char* at = claim(date_offset(status) + HTTP_DATE_BYTES + 2);
  if (at == nullptr) return;
  at = append(at, STATUS_START);
  at += write_decimal(at, status);
  *at++ = ' ';
  at = append(at, status_phrase(status));
  at = append(at, DATE_START);
  write_http_date(unix_seconds, at);
  append(at + HTTP_DATE_BYTES, "\r\n");
  if (server != ServerHeaderMode::NONE) field("Server", server_header_value(server));
}

void ResponseHeadWriter::field(std::string_view name, std::string_view value) {
  ok_ = ok_ && is_http_token(name) && is_field_value(value);
  char* at = claim(name.size() + 2 + value.size() + 2);
  if (at == nullptr) return;
  at = append(at, name);
  at = append(at, ": ");
  at = append(at, value);
  append(at, "\r\n");
}

void ResponseHeadWriter::field(std::string_view name, uint64_t value) {
  char digits[20];
  const size_t count = write_decimal(digits, value);
  field(name, std::string_view(digits, count));
}

void ResponseHeadWriter::field_date(std::string_view name, int64_t unix_seconds) {
  char date[HTTP_DATE_BYTES];
  write_http_date(unix_seconds, date);
  field(name, std::string_view(date, sizeof date));
}

void ResponseHeadWriter::raw(std::string_view lines) {
  char* at = claim(lines.size());
  if (at != nullptr) append(at, lines);
}

std::string_view ResponseHeadWriter::finish() {
  char* at = claim(2);
  if (at == nullptr) return {};
  append(at, "\r\n");
  return {out_.data(), size_};
}

}  // namespace penstock
