#include "src/server/pools/answer_policy.h"

#include "pool/ring/cache_names.h"
#include "src/base/bytes.h"
#include "src/http/accept_encoding.h"
#include "src/http/date.h"
#include "src/http/syntax.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

namespace penstock {
namespace {

constexpr Duration LIFETIME_MAX = seconds(365 * 24 * 3600);

bool contains(std::span<const std::string> list, std::string_view one) {
  return std::ranges::find(list, one) != list.end();
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), ascii_lower);
  return out;
}

// Request fields that applications are known to answer to (host, path or method in other words), so that one client
// could choose what all others see. What varies by them is another matter.
constexpr std::string_view UNKEYED_INPUTS[] = {
    "x-forwarded-host", "x-forwarded-server", "x-forwarded-scheme", "x-forwarded-port",     "x-forwarded-prefix",
    "x-host",           "x-original-url",     "x-rewrite-url",      "x-original-host",      "x-http-method-override",
    "x-http-method",    "x-method-override",  "forwarded",          "x-forwarded-path",     "x-http-host-override",
    "x-forwarded-ssl",  "x-url-scheme",       "front-end-https",    "x-forwarded-protocol",
};

// What Vary may name without the route's leave: of few values, or normalised.
constexpr std::string_view USUALLY_KEYED[] = {"accept",          "accept-charset", "accept-encoding",
                                              "accept-language", "origin",         "x-forwarded-proto"};

// Statuses whose meaning is whole in itself (RFC 9111 section 3: final, understood, not partial).
constexpr uint16_t KEPT_STATUSES[] = {200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451, 501};

// What Cache-Control says to a shared cache. Of a directive that comes twice the more careful value counts.
struct Directives {
  bool forbids = false;
  bool is_public = false;
  bool must_revalidate = false;
  bool strict = false;  // must-revalidate, or proxy-revalidate: never once its lifetime is over
  std::optional<uint64_t> max_age;
  std::optional<uint64_t> s_maxage;
  std::optional<uint64_t> stale_while_revalidate;
  std::optional<uint64_t> stale_if_error;
};

void take_seconds(std::string_view text, std::optional<uint64_t>& out) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  const uint64_t value = parse_decimal(text).value_or(0);
  out = out ? std::min(*out, value) : value;
}

void read_directives(std::string_view value, Directives& out) {
  while (!value.empty()) {
    const std::string_view element = next_element(value);
    const size_t equals = element.find('=');
    const std::string_view name = element.substr(0, equals);
    const std::string_view argument = equals == std::string_view::npos ? "" : element.substr(equals + 1);
    if (iequals_any(name, {"no-store", "no-cache", "private"})) out.forbids = true;
    if (iequals(name, "public")) out.is_public = true;
    if (iequals(name, "must-revalidate")) out.must_revalidate = true;
    if (iequals_any(name, {"must-revalidate", "proxy-revalidate"})) out.strict = true;
    if (iequals(name, "max-age")) take_seconds(argument, out.max_age);
    if (iequals(name, "s-maxage")) take_seconds(argument, out.s_maxage);
    if (iequals(name, "stale-while-revalidate")) take_seconds(argument, out.stale_while_revalidate);
    if (iequals(name, "stale-if-error")) take_seconds(argument, out.stale_if_error);
  }
}

Duration duration_of(uint64_t in_seconds) {
  return std::min(seconds(static_cast<int64_t>(std::min<uint64_t>(in_seconds, INT32_MAX))), LIFETIME_MAX);
}

// One look at an answer's fields.
struct Fields {
  Directives cache_control;
  std::optional<int64_t> date, expires;
  bool bad_expires = false;
  uint64_t age = 0;
  bool sets_cookie = false;
  bool partial = false;
  std::string_view encoding;
  std::vector<std::string_view> vary, tags;

  Fields(std::span<const LinkField> fields, int64_t now) {
    for (const LinkField& field : fields) {
      if (iequals(field.name, "Cache-Control")) read_directives(field.value, cache_control);
      if (iequals(field.name, "Set-Cookie")) sets_cookie = true;
      if (iequals(field.name, "Content-Range")) partial = true;
      if (iequals(field.name, "Content-Encoding")) encoding = trim_ows(field.value);
      if (iequals(field.name, "Age")) age = std::max(age, parse_decimal(trim_ows(field.value)).value_or(0));
      if (iequals(field.name, "Date")) date = parse_http_date(trim_ows(field.value), now);
      if (iequals(field.name, "Expires")) {
        expires = parse_http_date(trim_ows(field.value), now);
        bad_expires = !expires;
      }
      if (iequals(field.name, "Vary")) add_elements(field.value, vary);
      if (iequals(field.name, CACHE_TAG_FIELD)) add_elements(field.value, tags);
    }
  }

  static void add_elements(std::string_view value, std::vector<std::string_view>& to) {
    while (!value.empty()) {
      const std::string_view element = next_element(value);
      if (!element.empty()) to.push_back(element);
    }
  }
};

// RFC 9111 section 4.2.1; nothing: it says none.
std::optional<Duration> lifetime_of(const Fields& from, int64_t now) {
  const Directives& says = from.cache_control;
  if (says.s_maxage) return duration_of(*says.s_maxage);
  if (says.max_age) return duration_of(*says.max_age);
  if (from.bad_expires) return Duration{};  // section 5.3: "0" means expired
  if (!from.expires) return std::nullopt;
  const int64_t from_date = *from.expires - from.date.value_or(now);
  return duration_of(static_cast<uint64_t>(std::max<int64_t>(from_date, 0)));
}

// The names that select the answer, or why it cannot be selected.
bool take_vary(const Fields& from, const AnswerSays& says, const PolicyDefaults& defaults, AnswerPolicy& out) {
  const auto add = [&out](std::string_view name) { out.vary.push_back(lower(name)); };
  for (const std::string_view name : from.vary) {
    if (name == "*") {
      out.why = Verdict::VARY_STAR;
      return false;
    }
    add(name);
    const std::string& added = out.vary.back();
    const bool by_worker = says.policy != nullptr && std::ranges::any_of(says.policy->vary, [&](std::string_view one) {
                             return iequals(one, added);
                           });
    const bool usual = std::ranges::find(USUALLY_KEYED, added) != std::end(USUALLY_KEYED);
    if (!is_vary_name(name) || (!usual && !by_worker && !contains(defaults.vary, added))) {
      out.why = Verdict::VARY_UNKEYED;
      return false;
    }
  }
  if (says.policy != nullptr) std::ranges::for_each(says.policy->vary, add);
  std::ranges::sort(out.vary);
  const auto repeated = std::ranges::unique(out.vary);
  out.vary.erase(repeated.begin(), repeated.end());
  if (out.vary.size() > PENSTOCK_POLICY_VARY_MAX) {
    out.why = Verdict::VARY_UNKEYED;
    return false;
  }
  const bool by_coding = contains(out.vary, "accept-encoding");
  const bool plain = from.encoding.empty() || iequals(from.encoding, "identity");
  if (!plain && (!by_coding || !iequals_any(from.encoding, {"gzip", "x-gzip", "br", "zstd"}))) {
    out.why = Verdict::ENCODED;
    return false;
  }
  return true;
}

bool take_tags(const Fields& from, const AnswerSays& says, AnswerPolicy& out) {
  const std::vector<std::string_view>& tags = says.policy != nullptr ? says.policy->tags : from.tags;
  for (const std::string_view tag : tags) {
    if (!is_cache_tag(tag)) return false;
    if (!contains(out.tags, tag)) out.tags.emplace_back(tag);
  }
  return out.tags.size() <= PENSTOCK_POLICY_TAGS_MAX;
}

// Whether an answer to this client is one for all. RFC 9111 section 3.5; cookies by the same measure.
bool is_for_all(const RequestHead& head, const Fields& from, bool by_worker, AnswerPolicy& out) {
  const Directives& says = from.cache_control;
  if (head.has(Field::AUTHORIZATION) && !contains(out.vary, "authorization") && !says.is_public && !says.s_maxage &&
      !says.must_revalidate) {
    out.why = Verdict::AUTHORIZATION;
    return false;
  }
  if (head.has(Field::COOKIE) && !contains(out.vary, "cookie") && !says.is_public && !says.s_maxage && !by_worker) {
    out.why = Verdict::COOKIE;
    return false;
  }
  return true;
}

bool is_a_scheme(std::string_view value) { return iequals_any(trim_ows(value), {"http", "https"}); }

bool has_unkeyed_input(const RequestHead& head) {
  return std::ranges::any_of(head.fields(), [](const HeaderField& field) {
    if (iequals(field.name, "x-forwarded-proto")) return !is_a_scheme(field.value);
    return iequals_any(field.name, UNKEYED_INPUTS);
  });
}

// False: what the client said beside URL and Vary may be in the answer. The scheme, which a proxy in front of us tells
// of each request, becomes part of the key: else who tells another one could lead all others in a circle.
bool take_inputs(const RequestHead& head, AnswerPolicy& out) {
  for (const HeaderField& field : head.fields()) {
    const std::string name = lower(field.name);
    if (contains(out.vary, name)) continue;
    if (name == "x-forwarded-proto") {
      if (!is_a_scheme(field.value) || out.vary.size() >= PENSTOCK_POLICY_VARY_MAX) return false;
      out.vary.insert(std::ranges::lower_bound(out.vary, name), name);
    }
    if (std::ranges::find(UNKEYED_INPUTS, name) != std::end(UNKEYED_INPUTS)) return false;
  }
  return true;
}

void take_graces(const Fields& from, const AnswerSays& says, const PolicyDefaults& defaults, AnswerPolicy& out) {
  if (says.policy != nullptr) {
    out.stale_while_revalidate = std::min(milliseconds(says.policy->revalidate_ms), LIFETIME_MAX);
    out.stale_if_error = std::min(milliseconds(says.policy->error_ms), LIFETIME_MAX);
    return;
  }
  const Directives& cache_control = from.cache_control;
  if (cache_control.strict && says.ttl_ms == 0) return;                    // RFC 9111 section 4.2.4
  const bool defaults_apply = !cache_control.s_maxage || says.ttl_ms > 0;  // s-maxage: section 5.2.2.10
  const auto grace = [&](const std::optional<uint64_t>& said, Duration by_route) {
    if (said) return duration_of(*said);
    return defaults_apply ? by_route : Duration{};
  };
  out.stale_while_revalidate = grace(cache_control.stale_while_revalidate, defaults.stale_while_revalidate);
  out.stale_if_error = grace(cache_control.stale_if_error, defaults.stale_if_error);
}

// --- the key of a variant -------------------------------------------------------------------

void append_codings(const RequestHead& head, std::string& out) {
  const AcceptedCodings accepted = parse_accept_encoding(head);
  for (size_t i = 0; i < CODING_COUNT; ++i) {
    const auto coding = static_cast<Coding>(i);
    const bool welcome = accepted.weight[i] > 0;
    if (coding == Coding::IDENTITY) {
      if (!welcome) out += "!";
    } else if (welcome) {
      out.append(coding_name(coding)).append(",");
    }
  }
}

}  // namespace

bool may_be_shared(const RequestHead& head, Verdict& why) {
  if (head.method != Method::GET) {
    why = Verdict::UNCACHEABLE_METHOD;
    return false;
  }
  if (head.body != BodyKind::NONE) {
    why = Verdict::HAS_BODY;
    return false;
  }
  const FieldSet special = NOT_PLAIN_FIELDS & ~field_bit(Field::AUTHORIZATION);
  if ((head.present & special) != 0 || head.has_repeated(Field::HOST) || head.version_minor != 1 ||
      head.form != TargetForm::ORIGIN || head.authority.empty()) {
    why = Verdict::CONDITION_UNUSUAL;
    return false;
  }
  return true;
}

AnswerPolicy answer_policy(const RequestHead& head, const AnswerSays& says, const PolicyDefaults& defaults,
                           int64_t unix_seconds) {
  AnswerPolicy out;
  if (!may_be_shared(head, out.why)) return out;
  const auto refuse = [&out](Verdict why) {
    out.why = why;
    return out;
  };
  const Fields from(says.fields, unix_seconds);
  const bool by_worker = says.ttl_ms > 0;
  if (from.partial || std::ranges::find(KEPT_STATUSES, says.status) == std::end(KEPT_STATUSES)) {
    return refuse(Verdict::ANSWER_STATUS);
  }
  if (says.policy != nullptr && (says.policy->never || !by_worker)) return refuse(Verdict::WORKER_FORBIDS);
  if (from.sets_cookie) return refuse(Verdict::SET_COOKIE);
  if (!by_worker && from.cache_control.forbids) return refuse(Verdict::CACHE_CONTROL);
  out.age = duration_of(from.age);
  if (from.date)
    out.age = std::max(out.age, duration_of(static_cast<uint64_t>(std::max<int64_t>(unix_seconds - *from.date, 0))));
  if (by_worker) {
    out.lifetime = std::min(milliseconds(says.ttl_ms), LIFETIME_MAX);
  } else {
    const std::optional<Duration> lifetime = lifetime_of(from, unix_seconds);
    if (!lifetime || *lifetime <= out.age) return refuse(Verdict::NO_LIFETIME);
    out.lifetime = *lifetime - out.age;
  }
  if (!take_vary(from, says, defaults, out) || !is_for_all(head, from, by_worker, out)) return out;
  if (!take_inputs(head, out)) return refuse(Verdict::UNKEYED_INPUT);
  if (!take_tags(from, says, out)) return refuse(Verdict::TAG_LIMIT);
  take_graces(from, says, defaults, out);
  out.keep = true;
  return out;
}

uint64_t crowd_of(const RequestHead& head) {
  return (head.has(Field::AUTHORIZATION) ? 1U : 0U) | (head.has(Field::COOKIE) ? 2U : 0U) |
         (has_unkeyed_input(head) ? 4U : 0U);
}

std::string vary_target(std::string_view target, std::span<const std::string> names, const RequestHead& head) {
  std::string out(target);
  for (const std::string& name : names) {
    out.append("\n").append(name).append(":");  // no target has a line feed
    if (name == "accept-encoding") {
      append_codings(head, out);
      continue;
    }
    bool first = true;
    for (const HeaderField& field : head.fields()) {
      if (!iequals(field.name, name)) continue;
      out += first ? "=" : ",";  // an empty value is another thing than none
      first = false;
      const bool any_case = name.starts_with("accept") && field.value.find('"') == std::string_view::npos;
      for (const char c : trim_ows(field.value)) {
        if ((c == ' ' || c == '\t') && any_case) continue;  // around commas and semicolons; nowhere else can it be
        out += any_case ? ascii_lower(c) : c;
      }
    }
  }
  return out;
}

}  // namespace penstock
