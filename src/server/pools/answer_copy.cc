#include "src/server/pools/answer_copy.h"

#include "src/base/bytes.h"
#include "src/http/syntax.h"
#include "src/server/pools/answer_head.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

constexpr Duration LIFETIME_MAX = seconds(365 * 24 * 3600);

// What Cache-Control says to a shared cache.
struct Directives {
  bool forbids = false;
  bool is_public = false;
  std::optional<uint64_t> max_age;
  std::optional<uint64_t> s_maxage;
};

std::optional<uint64_t> seconds_of(std::string_view value) {
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  return parse_decimal(value);
}

void read_directives(std::string_view value, Directives& out) {
  while (!value.empty()) {
    const std::string_view element = next_element(value);
    const size_t equals = element.find('=');
    const std::string_view name = element.substr(0, equals);
    const std::string_view argument = equals == std::string_view::npos ? "" : element.substr(equals + 1);
    if (iequals(name, "no-store") || iequals(name, "no-cache") || iequals(name, "private")) out.forbids = true;
    if (iequals(name, "public")) out.is_public = true;
    if (iequals(name, "max-age")) out.max_age = seconds_of(argument).value_or(0);
    if (iequals(name, "s-maxage")) out.s_maxage = seconds_of(argument).value_or(0);
  }
}

bool is_any_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::any_of(names, [name](std::string_view one) { return iequals(name, one); });
}

}  // namespace

std::optional<Duration> answer_lifetime(const RequestHead& head, uint16_t status, std::span<const LinkField> fields,
                                        uint32_t ttl_ms) {
  if (status != 200 || head.method != Method::GET || !head.plain || head.has_range) return std::nullopt;
  Directives says;
  for (const LinkField& field : fields) {
    if (is_any_of(field.name, {"Set-Cookie", "Vary", "Content-Encoding", "Content-Range"})) return std::nullopt;
    if (iequals(field.name, "Cache-Control")) read_directives(field.value, says);
  }
  if (ttl_ms > 0) return milliseconds(ttl_ms);
  if (says.forbids) return std::nullopt;
  // Made for one client, unless the application says otherwise.
  if (head.has(Field::COOKIE) && !says.is_public && !says.s_maxage) return std::nullopt;
  const uint64_t age = says.s_maxage.value_or(says.max_age.value_or(0));
  if (age == 0) return std::nullopt;
  return std::min(seconds(static_cast<int64_t>(std::min<uint64_t>(age, INT32_MAX))), LIFETIME_MAX);
}

AnswerCopy::AnswerCopy(std::span<const LinkField> fields, std::string_view site_fields, Duration lifetime,
                       uint64_t length, uint64_t bytes_max)
    : site_fields_(site_fields), lifetime_(lifetime), bytes_max_(bytes_max) {
  for (const LinkField& field : fields) {
    fields_.push_back({std::string(field.name), std::string(field.value)});
    if (iequals(field.name, "ETag")) etag_ = field.value;
    if (iequals(field.name, "Content-Type")) content_type_ = field.value;
  }
  if (length <= bytes_max) body_.reserve(length);
}

bool AnswerCopy::add(std::string_view bytes) {
  if (bytes.size() > bytes_max_ - body_.size()) return false;
  body_.append(bytes);
  return true;
}

std::string AnswerCopy::make_head(uint16_t status, const Made& made, uint64_t length) const {
  AnswerHead head{.status = status,
                  .site_fields = site_fields_,
                  .framing = status == 304 ? AnswerFraming::NONE : AnswerFraming::LENGTH,
                  .length = length};
  std::vector<LinkField> fields;
  for (const Field& field : fields_) {
    // RFC 9110 section 15.4.5: a 304 says what a cache must know, not what the body is.
    if (status == 304 && is_any_of(field.name, {"Content-Type", "Content-Language", "Content-Disposition"})) continue;
    fields.push_back({field.name, field.value});
  }
  head.fields = fields;
  std::string text(answer_head_bytes_max(head), '\0');
  text.resize(write_answer_head(text, head, made.unix_seconds, made.server).size());
  return text;
}

Entry* AnswerCopy::finish(const Made& made, BodyStore& bodies, MemoryLedger& ledger) {
  Body* const body = bodies.create(body_.size());
  if (body == nullptr) return nullptr;
  char* const to = body->writable();
  if (to != nullptr && !body_.empty()) std::memcpy(to, body_.data(), body_.size());
  Entry* entry = nullptr;
  if ((to != nullptr || body_.empty()) && body->seal()) {
    const std::string head = make_head(200, made, body_.size());
    const std::string head_304 = etag_.empty() ? std::string() : make_head(304, made, 0);
    EntryBuilder builder;
    builder.key = made.key;
    builder.hash = made.hash;
    builder.generation = made.generation;
    builder.purge_mark = made.purge_mark;
    builder.created = made.now;
    builder.expires = made.now + lifetime_;
    builder.content_type = content_type_;
    builder.canonical = made.canonical;
    const VariantSpec variant{.head = head,
                              .date_offset = static_cast<uint32_t>(date_offset(200)),
                              .head_304 = head_304,
                              .date_offset_304 = head_304.empty() ? 0 : static_cast<uint32_t>(date_offset(304)),
                              .etag = etag_,
                              .body = body};
    if (!head.empty() && builder.add(variant)) entry = builder.build(ledger);
  }
  body->unpin();
  return entry;
}

}  // namespace penstock
