#include "src/server/pools/filtering.h"

#include "pool/abi/worker_abi.h"
#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/http/response_head.h"
#include "src/http/syntax.h"
#include "src/server/pools/answer_head.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

constexpr std::string_view FRAMING_OF_REQUESTS[] = {"Host",    "Connection", "Content-Length",   "Transfer-Encoding",
                                                    "Expect",  "Keep-Alive", "Proxy-Connection", "TE",
                                                    "Trailer", "Upgrade"};

bool is_of(std::string_view name, const AnswerField& field) { return iequals(field.name, name); }

void apply_edit(std::vector<AnswerField>& fields, const LinkEdit& edit) {
  const auto same = [&edit](const AnswerField& field) { return is_of(edit.name, field); };
  if (edit.what == PENSTOCK_EDIT_SET) {  // where the first one stood
    const auto first = std::ranges::find_if(fields, same);
    if (first != fields.end()) {
      first->value = edit.value;
      fields.erase(std::remove_if(first + 1, fields.end(), same), fields.end());
      return;
    }
  }
  if (edit.what == PENSTOCK_EDIT_REMOVE) {
    std::erase_if(fields, same);
    return;
  }
  fields.push_back({std::string(edit.name), std::string(edit.value)});
}

// Calls fn(name, value) for each field line of a head of our own making.
template <typename Fn>
void for_each_line(std::string_view head, Fn&& fn) {
  size_t at = head.find("\r\n") + 2;
  while (at < head.size()) {
    const size_t end = head.find("\r\n", at);
    ASSERT(end != std::string_view::npos);
    const std::string_view line = head.substr(at, end - at);
    at = end + 2;
    if (line.empty()) return;
    const size_t colon = line.find(':');
    ASSERT(colon != std::string_view::npos);
    fn(line.substr(0, colon), trim_ows(line.substr(colon + 1)));
  }
}

}  // namespace

Exchange::Exchange() = default;
Exchange::~Exchange() = default;
void Exchange::end_filters() { filters.reset(); }

HeldAnswer::HeldAnswer(const LinkEvent& event) : head_(event), has_policy_(event.policy != nullptr), body_(event.body) {
  for (const LinkField& field : event.fields) fields_.push_back({std::string(field.name), std::string(field.value)});
  if (!has_policy_) return;
  policy_ = {.never = event.policy->never,
             .revalidate_ms = event.policy->revalidate_ms,
             .error_ms = event.policy->error_ms,
             .vary = {},
             .tags = {}};
  vary_.assign(event.policy->vary.begin(), event.policy->vary.end());
  tags_.assign(event.policy->tags.begin(), event.policy->tags.end());
}

LinkEvent HeldAnswer::head() {
  field_views_.clear();
  for (const AnswerField& field : fields_) field_views_.push_back({field.name, field.value});
  policy_.vary.assign(vary_.begin(), vary_.end());
  policy_.tags.assign(tags_.begin(), tags_.end());
  LinkEvent event = head_;
  event.fields = field_views_;
  event.policy = has_policy_ ? &policy_ : nullptr;
  event.body = body_;
  return event;
}

bool HeldAnswer::add(const LinkEvent& event) {
  const bool is_text = event.kind == LinkEvent::Kind::DATA;
  if (is_text && event.body.empty()) return true;
  if (is_text && !pieces_.empty() && pieces_.back().kind == event.kind) {
    pieces_.back().text.append(event.body);
    return true;
  }
  if (pieces_.size() >= PIECES_MAX) return false;
  pieces_.push_back(
      {.kind = event.kind, .text = std::string(event.body), .offset = event.offset, .length = event.length});
  return true;
}

bool Filtering::wants_response() const {
  return !over && std::ranges::any_of(pools, [](const FilterPool& one) { return one.wants_response; });
}

void Filtering::forget_answer() {
  answering = changed = released = false;
  held.reset();
  fields.clear();
  status = 0;
}

void FilterRecord::keep(const Outcome& of) {
  outcome = of;
  site = of.site;
  user = of.user;
  client_subject = of.client_subject;
  client_fingerprint = of.client_fingerprint;
  log = of.filter;
}

const Outcome& FilterRecord::made() {
  outcome.site = site;
  outcome.user = user;
  outcome.client_subject = client_subject;
  outcome.client_fingerprint = client_fingerprint;
  outcome.filter = log;
  return outcome;
}

void add_note(std::string& log, std::string_view text) {
  if (text.empty()) return;
  if (!log.empty()) log += ' ';
  // Into a line of a log: whatever a filter is, it writes no lines of its own.
  for (const char c : text) log += c >= ' ' && c < 0x7f ? c : '?';
}

void note_failure(std::string& log, std::string_view pool, Reason reason) {
  add_note(log, std::string(pool) + ":" + std::string(reason_info(reason).name));
}

bool may_be_written(const LinkVerdict& verdict) {
  const auto is_target_byte = [](char c) { return static_cast<unsigned char>(c) > ' ' && c != 0x7f; };
  const auto is_value_byte = [](char c) { return (static_cast<unsigned char>(c) >= ' ' && c != 0x7f) || c == '\t'; };
  const auto is_field = [&](const LinkEdit& edit) {
    return is_http_token(edit.name) && std::ranges::all_of(edit.value, is_value_byte);
  };
  return std::ranges::all_of(verdict.target, is_target_byte) && std::ranges::all_of(verdict.edits, is_field);
}

std::string write_filtered_request(const RequestHead& head, std::string_view target, std::span<const LinkEdit> edits) {
  std::vector<AnswerField> fields;
  for (const HeaderField& field : head.fields()) {
    // Of an absolute target the host is the one to be used (RFC 9112 section 3.2.2); the new one may be none.
    const bool host = iequals(field.name, "Host");
    fields.push_back({std::string(field.name), std::string(host ? head.authority : field.value)});
  }
  for (const LinkEdit& edit : edits) {
    if (!iequals_any(edit.name, FRAMING_OF_REQUESTS)) apply_edit(fields, edit);
  }
  std::string text(head.method_text);
  text.append(" ").append(target.empty() ? head.target : target);
  text.append(" HTTP/1.").append(1, static_cast<char>('0' + head.version_minor)).append("\r\n");
  for (const AnswerField& field : fields) text.append(field.name).append(": ").append(field.value).append("\r\n");
  return text.append("\r\n");
}

void edit_fields(std::vector<AnswerField>& fields, std::span<const LinkEdit> edits) {
  for (const LinkEdit& edit : edits) {
    if (!is_front_end_field(edit.name)) apply_edit(fields, edit);
  }
}

void read_answer_head(std::string_view head, uint16_t& status, std::vector<AnswerField>& fields) {
  status = static_cast<uint16_t>(parse_decimal(head.substr(9, 3)).value_or(0));
  fields.clear();
  for_each_line(head, [&fields](std::string_view name, std::string_view value) {
    if (!is_front_end_field(name)) fields.push_back({std::string(name), std::string(value)});
  });
}

std::string write_filtered_head(std::string_view head, uint16_t status, std::span<const AnswerField> fields,
                                int64_t unix_seconds, ServerHeaderMode server) {
  size_t most = head.size() + 512;
  for (const AnswerField& field : fields) most += field.name.size() + field.value.size() + 4;
  std::string room(most, '\0');
  ResponseHeadWriter writer(room, status, unix_seconds, server);
  for (const AnswerField& field : fields) writer.field(field.name, field.value);
  for_each_line(head, [&writer](std::string_view name, std::string_view value) {
    const bool written = iequals(name, "Date") || iequals(name, "Server");
    if (is_front_end_field(name) && !written) writer.field(name, value);
  });
  room.resize(writer.finish().size());
  return room;
}

bool append_answer_block(std::string& message, std::span<const AnswerField> fields) {
  if (fields.size() > PENSTOCK_HEAD_FIELDS) return false;
  size_t bytes = sizeof(penstock_response_head) + fields.size() * sizeof(penstock_field);
  for (const AnswerField& field : fields) bytes += field.name.size() + field.value.size() + 2;
  if (bytes > PENSTOCK_HEAD_BYTES) return false;
  const penstock_response_head head{.bytes = static_cast<uint32_t>(bytes),
                                    .field_count = static_cast<uint32_t>(fields.size()),
                                    .fields_at = sizeof(penstock_response_head),
                                    .policy_at = 0};
  std::string block(bytes, '\0');
  std::memcpy(block.data(), &head, sizeof head);
  size_t field_at = sizeof head;
  size_t text_at = sizeof head + fields.size() * sizeof(penstock_field);
  const auto put = [&](const std::string& text) {
    std::ranges::copy(text, block.begin() + static_cast<ptrdiff_t>(text_at));
    const penstock_text placed{.at = static_cast<uint32_t>(text_at), .bytes = static_cast<uint32_t>(text.size())};
    text_at += text.size() + 1;
    return placed;
  };
  for (const AnswerField& field : fields) {
    const penstock_field placed{.name = put(field.name), .value = put(field.value)};
    std::memcpy(block.data() + field_at, &placed, sizeof placed);
    field_at += sizeof placed;
  }
  message += block;
  return true;
}

}  // namespace penstock
