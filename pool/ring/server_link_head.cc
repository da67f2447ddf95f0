// The head of an answer, and its cache policy: copied once out of memory that the worker can change, then checked.
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

}  // namespace penstock
