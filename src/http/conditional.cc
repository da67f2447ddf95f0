#include "src/http/conditional.h"

#include "src/base/bytes.h"
#include "src/http/date.h"

namespace penstock {
namespace {

constexpr bool is_weak(std::string_view etag) { return etag.starts_with("W/"); }
constexpr std::string_view opaque(std::string_view etag) { return is_weak(etag) ? etag.substr(2) : etag; }

// etagc of RFC 9110 section 8.8.3: no control, no space, no quote.
constexpr bool is_etag_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f && c != '"';
}

// The entity tag at the front of `list`, taken off it; empty if there is none.
std::string_view take_etag(std::string_view& list) {
  size_t at = list.starts_with("W/") ? 2 : 0;
  if (at >= list.size() || list[at] != '"') return {};
  ++at;
  while (at < list.size() && is_etag_byte(list[at])) ++at;
  if (at >= list.size() || list[at] != '"') return {};
  const std::string_view etag = list.substr(0, at + 1);
  list.remove_prefix(at + 1);
  return etag;
}

bool any_line_matches(const RequestHead& head, Field field, const Validators& validators, EtagComparison comparison) {
  bool matches = false;
  head.for_each(field,
                [&](std::string_view list) { matches = matches || etag_list_matches(list, validators, comparison); });
  return matches;
}

// The date of a field that stands once and is well-formed.
std::optional<int64_t> single_date(const RequestHead& head, Field field, int64_t now) {
  if (!head.has(field) || head.has_repeated(field)) return std::nullopt;
  return parse_http_date(head.get(field), now);
}

// RFC 9110 section 13.1.5. A date must be the very Last-Modified, and old enough to be a strong validator (section
// 8.8.2.2): what changed within this second may change again in it.
bool if_range_matches(const RequestHead& head, const Validators& validators, int64_t now) {
  if (head.has_repeated(Field::IF_RANGE)) return false;
  const std::string_view value = head.get(Field::IF_RANGE);
  std::string_view rest = value;
  const std::string_view etag = take_etag(rest);
  if (!etag.empty()) return rest.empty() && etag_strong_equal(etag, validators.etag);
  const auto date = parse_http_date(value, now);
  return date && validators.last_modified == date && *date < now;
}

}  // namespace

bool etag_strong_equal(std::string_view a, std::string_view b) { return !a.empty() && a == b && !is_weak(a); }

bool etag_weak_equal(std::string_view a, std::string_view b) { return !a.empty() && opaque(a) == opaque(b); }

bool etag_list_matches(std::string_view list, const Validators& validators, EtagComparison comparison) {
  if (trim_ows(list) == "*") return validators.exists;
  if (!validators.exists) return false;
  while (true) {
    // Empty elements are to be read over (section 5.6.1.2).
    while (!list.empty() && (list.front() == ',' || list.front() == ' ' || list.front() == '\t')) {
      list.remove_prefix(1);
    }
    const std::string_view etag = take_etag(list);
    if (etag.empty()) return false;
    list = trim_ows(list);
    if (!list.empty() && list.front() != ',') return false;
    const bool equal = comparison == EtagComparison::STRONG ? etag_strong_equal(etag, validators.etag)
                                                            : etag_weak_equal(etag, validators.etag);
    if (equal) return true;
  }
}

ConditionalVerdict evaluate_conditional(const RequestHead& head, const Validators& validators, int64_t now) {
  const bool get_or_head = head.method == Method::GET || head.method == Method::HEAD;
  const std::optional<int64_t>& modified = validators.last_modified;

  // Steps 1 and 2: the client's wish not to touch anything else than what it knows.
  if (head.has(Field::IF_MATCH)) {
    if (!any_line_matches(head, Field::IF_MATCH, validators, EtagComparison::STRONG)) return {Precondition::FAILED};
  } else if (const auto date = single_date(head, Field::IF_UNMODIFIED_SINCE, now); date && modified) {
    if (*modified > *date) return {Precondition::FAILED};
  }

  // Steps 3 and 4: the client's wish not to be sent what it has. If-None-Match sets If-Modified-Since aside.
  if (head.has(Field::IF_NONE_MATCH)) {
    if (any_line_matches(head, Field::IF_NONE_MATCH, validators, EtagComparison::WEAK)) {
      return {get_or_head ? Precondition::NOT_MODIFIED : Precondition::FAILED};
    }
  } else if (get_or_head) {
    const auto date = single_date(head, Field::IF_MODIFIED_SINCE, now);
    if (date && modified && *modified <= *date) return {Precondition::NOT_MODIFIED};
  }

  // Step 5. Section 14.2 defines ranges for GET only; of two Range lines neither is believed.
  const bool range = head.method == Method::GET && head.has_range && !head.has_repeated(Field::RANGE);
  const bool honour = range && (!head.has(Field::IF_RANGE) || if_range_matches(head, validators, now));
  return {Precondition::PROCEED, honour};
}

}  // namespace penstock
