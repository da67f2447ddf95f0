#include "src/server/pools/answer_head.h"

#include "src/base/bytes.h"
#include "src/route/route_table.h"
#include "src/server/pools/answer_policy.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr std::string_view OWN_FIELDS[] = {
    "Connection", "Content-Length", "Date",    "Keep-Alive",        "Proxy-Connection", "Server",
    "TE",         "Trailer",        "Upgrade", "Transfer-Encoding", CACHE_TAG_FIELD,
};

}  // namespace

bool is_front_end_field(std::string_view name) { return iequals_any(name, OWN_FIELDS); }

size_t answer_head_bytes_max(const AnswerHead& head) {
  constexpr size_t OURS = 320;  // status line with the longest phrase, Date, Server, length, Connection
  size_t bytes = OURS + head.site_fields.size();
  for (const LinkField& field : head.fields) bytes += field.name.size() + field.value.size() + 4;
  return bytes;
}

std::string_view write_answer_head(std::span<char> out, const AnswerHead& head, int64_t unix_seconds,
                                   ServerHeaderMode server) {
  ResponseHeadWriter writer(out, head.status, unix_seconds, server);
  // RFC 6797 section 8.1: a browser goes by the first, and the site's word counts.
  const bool has_hsts = head.site_fields.starts_with(HSTS_FIELD);
  for (const LinkField& field : head.fields) {
    if (has_hsts && iequals(field.name, HSTS_FIELD.substr(0, HSTS_FIELD.size() - 2))) continue;
    if (!is_front_end_field(field.name)) writer.field(field.name, field.value);
  }
  writer.raw(head.site_fields);
  const bool tells_length = head.framing == AnswerFraming::LENGTH ||
                            (head.framing == AnswerFraming::NONE && head.length != PENSTOCK_LENGTH_UNKNOWN &&
                             !status_is_bodiless(head.status));
  if (tells_length) writer.field("Content-Length", head.length);
  if (head.framing == AnswerFraming::CHUNKED) writer.field("Transfer-Encoding", "chunked");
  if (!head.keep_alive) {
    writer.field("Connection", "close");
  } else if (head.http_1_0) {
    writer.field("Connection", "keep-alive");
  }
  return writer.finish();
}

}  // namespace penstock
