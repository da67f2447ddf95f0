#include "src/server/pools/answer_copy.h"

#include "src/base/bytes.h"
#include "src/server/entry_maker.h"
#include "src/server/pools/answer_head.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

std::string joined(std::span<const std::string> texts) {
  std::string out;
  for (const std::string& text : texts) out.append(out.empty() ? "" : ", ").append(text);
  return out;
}

}  // namespace

uint64_t tag_label(std::string_view tag, uint64_t seed) { return hash_bytes(tag, seed + 0x7461); }
uint64_t url_label(uint64_t key_hash) { return hash_word(key_hash + 0x75726c); }

std::string vary_line(const LinkPolicy* policy, std::span<const LinkField> fields) {
  std::string names;
  if (policy == nullptr || policy->never) return names;
  for (const std::string_view name : policy->vary) {
    const bool named = std::ranges::any_of(fields, [name](const LinkField& field) {
      std::string_view value = iequals(field.name, "Vary") ? field.value : std::string_view{};
      while (!value.empty()) {
        if (iequals(trim_ows(value.substr(0, value.find(','))), name)) return true;
        value.remove_prefix(std::min(value.find(','), value.size() - 1) + 1);
      }
      return false;
    });
    if (!named) names.append(names.empty() ? "" : ", ").append(name);
  }
  return names.empty() ? names : "Vary: " + names + "\r\n";
}

AnswerCopy::AnswerCopy(AnswerPolicy policy, uint16_t status, std::span<const LinkField> fields,
                       std::string_view site_fields, uint64_t length, uint64_t bytes_max)
    : policy_(std::move(policy)), status_(status), site_fields_(site_fields), bytes_max_(bytes_max) {
  for (const LinkField& field : fields) {
    if (iequals(field.name, "Age")) continue;  // told anew each time: RFC 9111 section 5.1
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
                  .framing = status_is_bodiless(status) ? AnswerFraming::NONE : AnswerFraming::LENGTH,
                  .length = length};
  std::vector<LinkField> fields;
  for (const Field& field : fields_) {
    // RFC 9110 section 15.4.5: a 304 says what a cache must know, not what the body is.
    if (status == 304 && iequals_any(field.name, {"Content-Type", "Content-Language", "Content-Disposition"})) continue;
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
    const std::string head = make_head(status_, made, body_.size());
    const std::string head_304 = status_ == 200 ? make_head(304, made, 0) : std::string();
    EntryBuilder builder;
    builder.key = made.key;
    if (!made.target.empty()) builder.key.target = made.target;
    builder.hash = made.target.empty() ? made.hash : hash_key(builder.key, made.seed);
    builder.generation = made.generation;
    builder.purge_mark = made.purge_mark;
    builder.created = made.now;
    builder.expires = made.now + policy_.lifetime;
    builder.stale_until = builder.expires + policy_.stale_while_revalidate;
    builder.error_until = builder.expires + policy_.stale_if_error;
    builder.status = status_;
    builder.content_type = content_type_;
    builder.canonical = made.canonical;
    builder.owner_flags = ENTRY_ANSWER | made.site;
    builder.owner_word = static_cast<uint64_t>((made.now - policy_.age).ns);  // when it was made: see age_of()
    builder.label_mark = made.label_mark;
    builder.group_max = VARIANTS_MAX;
    builder.labels[builder.label_count++] = url_label(made.hash);
    for (const std::string& tag : policy_.tags) builder.labels[builder.label_count++] = tag_label(tag, made.seed);
    const std::string tags = joined(policy_.tags);
    builder.notes = tags;
    const VariantSpec variant{.head = head,
                              .date_offset = static_cast<uint32_t>(date_offset(status_)),
                              .head_304 = head_304,
                              .date_offset_304 = head_304.empty() ? 0 : static_cast<uint32_t>(date_offset(304)),
                              .etag = etag_,
                              .body = body};
    if (!head.empty() && builder.add(variant)) entry = builder.build(ledger);
  }
  body->unpin();
  return entry;
}

MonoTime AnswerCopy::kept_until(MonoTime now) const {
  return now + policy_.lifetime + std::max(policy_.stale_while_revalidate, policy_.stale_if_error);
}

Entry* AnswerCopy::make_marker(const Made& made, std::span<const std::string> names, MonoTime until,
                               MemoryLedger& ledger) const {
  const std::string notes = joined(names);
  EntryBuilder builder;
  builder.marker = true;
  builder.key = made.key;
  builder.hash = made.hash;
  builder.generation = made.generation;
  builder.purge_mark = made.purge_mark;
  builder.created = made.now;
  builder.stale_until = std::max(until, kept_until(made.now));
  builder.canonical = made.canonical;
  builder.notes = notes;
  builder.label_mark = made.label_mark;
  builder.group_max = VARIANTS_MAX;
  builder.labels[builder.label_count++] = url_label(made.hash);
  return builder.build(ledger);
}

}  // namespace penstock
