// The head of an answer, its cache policy, and a filter's verdict: copied once out of memory that the worker can
// change, then checked.
#include "pool/ring/cache_names.h"
#include "pool/ring/server_link.h"

#include <cstring>

namespace penstock {
namespace {

template <typename T>
T read_at(const std::vector<char>& from, size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof value);
  return value;
}

}  // namespace

bool ServerLink::copy_head(const penstock_descriptor& from, LinkEvent& event) {
  if (from.head_bytes < sizeof(penstock_response_head) || from.head_bytes > head_copy_.size()) return false;
  std::memcpy(head_copy_.data(), memory_.worker_arena + from.head_at, from.head_bytes);
  const auto head = read_at<penstock_response_head>(head_copy_, 0);
  if (head.bytes != from.head_bytes || head.field_count > fields_.size()) return false;
  const uint64_t fields_end = uint64_t{head.fields_at} + uint64_t{head.field_count} * sizeof(penstock_field);
  if (head.fields_at < sizeof head || fields_end > head.bytes) return false;
  const auto text = [this, &head](penstock_text at, std::string_view& out) {
    if (at.at > head.bytes || at.bytes > head.bytes - at.at) return false;
    out = {head_copy_.data() + at.at, at.bytes};
    return true;
  };
  for (uint32_t i = 0; i < head.field_count; ++i) {
    const auto field = read_at<penstock_field>(head_copy_, head.fields_at + i * sizeof(penstock_field));
    if (!text(field.name, fields_[i].name) || !text(field.value, fields_[i].value)) return false;
    if (fields_[i].name.empty()) return false;
  }
  event.fields = std::span(fields_).first(head.field_count);
  return head.policy_at == 0 || copy_policy(head, event);
}

bool ServerLink::copy_policy(const penstock_response_head& head, LinkEvent& event) {
  if (version_ < 2 || head.policy_at < sizeof head || head.policy_at > head.bytes ||
      head.bytes - head.policy_at < sizeof(penstock_policy)) {
    return false;
  }
  const auto from = read_at<penstock_policy>(head_copy_, head.policy_at);
  if ((from.flags & ~uint32_t{PENSTOCK_POLICY_NEVER}) != 0 || from.reserved != 0 ||
      from.vary_count > PENSTOCK_POLICY_VARY_MAX || from.tag_count > PENSTOCK_POLICY_TAGS_MAX) {
    return false;
  }
  const uint32_t count = uint32_t{from.vary_count} + from.tag_count;
  if (from.texts_at > head.bytes || (head.bytes - from.texts_at) / sizeof(penstock_text) < count) return false;
  policy_.never = (from.flags & PENSTOCK_POLICY_NEVER) != 0;
  policy_.revalidate_ms = from.revalidate_ms;
  policy_.error_ms = from.error_ms;
  policy_.vary.clear();
  policy_.tags.clear();
  for (uint32_t i = 0; i < count; ++i) {
    const auto at = read_at<penstock_text>(head_copy_, from.texts_at + i * sizeof(penstock_text));
    if (at.at > head.bytes || at.bytes > head.bytes - at.at) return false;
    const std::string_view text{head_copy_.data() + at.at, at.bytes};
    const bool names = i < from.vary_count;
    if (!(names ? is_vary_name(text) : is_cache_tag(text))) return false;
    (names ? policy_.vary : policy_.tags).push_back(text);
  }
  event.policy = &policy_;
  return true;
}

bool ServerLink::understand_verdict(const penstock_descriptor& from, const Exchange& exchange, LinkEvent& event) {
  if (exchange.filter == 0 || exchange.has_head) return violate(LinkViolation::ORDER);
  const bool may_set_status = exchange.filter == PENSTOCK_FILTER_RESPONSE;
  if (from.status != 0 && (!may_set_status || from.status < 200 || from.status > 599)) {
    return violate(LinkViolation::STATUS);
  }
  if (!copy_verdict(from, exchange.filter, event)) return violate(LinkViolation::HEAD);
  event.kind = LinkEvent::Kind::VERDICT;
  event.status = from.status;
  return true;
}

bool ServerLink::copy_verdict(const penstock_descriptor& from, uint8_t filter, LinkEvent& event) {
  if (from.head_bytes < sizeof(penstock_verdict) || from.head_bytes > limits_.head_bytes_max) return false;
  std::memcpy(head_copy_.data(), memory_.worker_arena + from.head_at, from.head_bytes);
  const auto says = read_at<penstock_verdict>(head_copy_, 0);
  constexpr uint32_t WANTS = PENSTOCK_WANTS_RESPONSE | PENSTOCK_WANTS_LOG;
  if (says.bytes != from.head_bytes || says.edit_count > limits_.fields_max || (says.wants & ~WANTS) != 0) return false;
  const uint64_t edits_end = uint64_t{says.edits_at} + uint64_t{says.edit_count} * sizeof(penstock_edit);
  if (says.edits_at < sizeof says || edits_end > says.bytes) return false;
  const auto text = [this, &says](penstock_text at, std::string_view& out) {
    if (at.at > says.bytes || at.bytes > says.bytes - at.at) return false;
    out = {head_copy_.data() + at.at, at.bytes};
    return true;
  };
  if (!text(says.target, verdict_.target) || !text(says.log, verdict_.log)) return false;
  const bool of_request = filter == PENSTOCK_FILTER_REQUEST;
  if (!of_request && (says.wants != 0 || !verdict_.target.empty())) return false;
  if (filter == PENSTOCK_FILTER_LOG && says.edit_count > 0) return false;
  verdict_.wants_response = (says.wants & PENSTOCK_WANTS_RESPONSE) != 0;
  verdict_.wants_log = (says.wants & PENSTOCK_WANTS_LOG) != 0;
  verdict_.edits.clear();
  for (uint32_t i = 0; i < says.edit_count; ++i) {
    const auto edit = read_at<penstock_edit>(head_copy_, says.edits_at + i * sizeof(penstock_edit));
    if (edit.what < PENSTOCK_EDIT_SET || edit.what > PENSTOCK_EDIT_REMOVE || edit.reserved != 0) return false;
    LinkEdit& to = verdict_.edits.emplace_back();
    to.what = static_cast<penstock_edit_what>(edit.what);
    if (!text(edit.name, to.name) || !text(edit.value, to.value) || to.name.empty()) return false;
    if (to.what == PENSTOCK_EDIT_REMOVE && !to.value.empty()) return false;
  }
  event.verdict = &verdict_;
  return true;
}

}  // namespace penstock
