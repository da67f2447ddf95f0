// Route: what the config says about this URL. Cold: a hot hit was here once, under this generation.

#include "src/http/syntax.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/steps.h"
#include "src/server/walk.h"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

constexpr uint8_t EXECUTE_MAX = 5;  // URLs that may stand in for one request, one after the other

StepResult refuse(Exchange& ex, Reason reason, Verdict verdict = Verdict::BAD_REQUEST) {
  return answer_with(ex, reason, verdict);
}

// The request's path in canonical form into ex.path; NONE or why not.
Reason canonical_path(Exchange& ex) {
  DecodeRules rules = ex.config->decode_rules;
  rules.segment_bytes = ex.site->segment_bytes;
  rules.segments = ex.site->segments;
  ex.cold_used = true;
  ex.path.resize(canonical_bytes_max(ex.head.path.size(), rules));
  const CanonicalPath canonical = canonicalise(ex.head.path, rules, ex.path);
  ex.path.resize(canonical.path.size());
  return canonical.reason;
}

// Whether a request with this body is taken at all.
Reason look_at_body(const Exchange& ex) {
  const RequestHead& head = ex.head;
  if (head.has(Field::EXPECT) && !head.expect_continue && !ex.http_1_0) return Reason::EXPECTATION_FAILED;
  if (head.body == BodyKind::LENGTH && head.content_length > ex.site->body_bytes) return Reason::CONTENT_LENGTH_LIMIT;
  return Reason::NONE;
}

// REQUIRES: one that a redirect may have (checks.cc).
Reason reason_of_redirect(uint16_t status) {
  for (size_t i = 0; i < REASON_COUNT; ++i) {
    if (REASONS[i].status == status) return static_cast<Reason>(i);  // the first row of a status is its plain one
  }
  return Reason::CONFIG_INVALID;
}

// "$path", "$query", "$host" and "$$" of a redirect target.
std::string expand_target(const Exchange& ex, std::string_view to) {
  std::string out;
  std::string_view rest = std::string_view(ex.path).substr(ex.route->prefix == "/" ? 0 : ex.route->prefix.size());
  std::string escaped(rest.size() * 3, '\0');
  rest = escape_path(rest, escaped);
  for (size_t i = 0; i < to.size();) {
    if (to[i] != '$') {
      out += to[i++];
    } else if (to.substr(i).starts_with("$path")) {
      out += rest;
      i += 5;
    } else if (to.substr(i).starts_with("$query")) {
      if (ex.head.has_query) out.append("?").append(ex.head.query);
      i += 6;
    } else if (to.substr(i).starts_with("$host")) {
      out += ex.head.authority;
      i += 5;
    } else {
      out += '$';
      i += to.substr(i).starts_with("$$") ? 2 : 1;
    }
  }
  return out;
}

StepResult answer_by_handler(Exchange& ex) {
  const Route& route = *ex.route;
  switch (route.handler) {
    case HandlerSetting::STATIC:
      return StepResult::NEXT;
    case HandlerSetting::REDIRECT:
      ex.location = expand_target(ex, route.to);
      return answer_with(ex, reason_of_redirect(route.status == 0 ? 302 : route.status), Verdict::REDIRECT);
    case HandlerSetting::STATUS:
      ex.route_status = route.status;
      return answer_with(ex, Reason::STATUS_ROUTE, Verdict::NOT_STATIC);
    case HandlerSetting::POOL:
      if (!RouteTable::has_handler(route, ex.path)) {
        return answer_with(ex, Reason::HANDLER_MISSING, Verdict::NOT_STATIC);
      }
      return StepResult::DISPATCH;
  }
  return answer_with(ex, Reason::CONFIG_INVALID, Verdict::ERROR_STATUS);
}

// From host and path to who answers.
StepResult find_answer(Core& core, Exchange& ex) {
  const RequestHead& head = ex.head;
  ex.site = find_site_of(ex);
  if (ex.site == nullptr) {
    core.counters.host_unknown.add();
    ex.keep_alive = false;
    ex.lingers = true;
    return refuse(ex, Reason::SITE_UNKNOWN, Verdict::NO_SITE);
  }
  if (const Reason reason = head_beyond(ex, ex.site->heads); reason != Reason::NONE) return refuse(ex, reason);
  if (const Reason reason = look_at_client(core, ex, *ex.site); reason != Reason::NONE) {
    return refuse_client(core, ex, reason);
  }
  if (const Reason reason = look_at_body(ex); reason != Reason::NONE) {
    ex.keep_alive = false;
    ex.lingers = true;
    return refuse(ex, reason, Verdict::HAS_BODY);
  }
  if (head.form == TargetForm::ASTERISK || head.form == TargetForm::AUTHORITY) {
    ex.route = &RouteTable::find_route(*ex.site, "/");
    if (head.method == Method::OPTIONS) return answer_with(ex, Reason::NO_CONTENT, Verdict::UNCACHEABLE_METHOD);
    return refuse(ex, Reason::METHOD_NOT_ALLOWED, Verdict::UNCACHEABLE_METHOD);
  }
  if (head.path.size() > ex.site->url_bytes) return refuse(ex, Reason::URL_LENGTH);
  if (head.query.size() > ex.site->query_bytes) return refuse(ex, Reason::QUERY_LENGTH);
  if (const Reason reason = canonical_path(ex); reason != Reason::NONE) {
    core.counters.parse_errors.add();
    // What cannot be understood may be an attack on what stands before or behind us: end the connection.
    if (reason_status(reason) == 400) {
      ex.keep_alive = false;
      ex.lingers = true;
    }
    return refuse(ex, reason);
  }
  ex.route = &RouteTable::find_route(*ex.site, ex.path);
  if (ex.site->client_required && !ex.certified && ex.route->handler == HandlerSetting::POOL &&
      asks_for_challenge(ex)) {
    return refuse_client(core, ex, Reason::CLIENT_CERTIFICATE_MISSING);  // applications rely on there being one
  }
  const bool allowed = RouteTable::allows(*ex.route, head.method, head.method_text);
  // Where the cache is not to be purged by clients, an application may have a PURGE of its own.
  if (head.method_text == "PURGE" && (!allowed || !ex.site->purge_from.empty())) return purge_step(core, ex);
  if (!allowed) {
    return refuse(ex, head.method == Method::OTHER ? Reason::METHOD_UNKNOWN : Reason::METHOD_NOT_ALLOWED,
                  Verdict::UNCACHEABLE_METHOD);
  }
  const bool answers_options = ex.route->handler != HandlerSetting::POOL;
  if (head.method == Method::OPTIONS && answers_options) {
    return answer_with(ex, Reason::NO_CONTENT, Verdict::UNCACHEABLE_METHOD);
  }
  if (const StepResult result = answer_by_handler(ex); result != StepResult::NEXT) return result;
  if (head.method != Method::GET && head.method != Method::HEAD) {
    return refuse(ex, Reason::METHOD_NOT_ALLOWED, Verdict::UNCACHEABLE_METHOD);
  }
  return StepResult::NEXT;
}

}  // namespace

Reason head_beyond(const Exchange& ex, const HeadLimits& limits) {
  const RequestHead& head = ex.head;
  if (ex.head_bytes_in > limits.head_bytes) return Reason::HEAD_LENGTH;
  if (head.field_count > limits.fields) return Reason::FIELD_COUNT;
  if (limits.field_bytes >= ex.config->head_limits.field_bytes) return Reason::NONE;  // the parser has looked
  // A line ends with the CRLF before the next one, the last before the empty line.
  constexpr ptrdiff_t CRLF = 2;
  const char* next = ex.raw_head.data() + ex.raw_head.size() - CRLF;
  for (size_t i = head.field_count; i-- > 0; next = head.lines[i].name.data()) {
    if (next - CRLF - head.lines[i].name.data() > ptrdiff_t{limits.field_bytes}) return Reason::FIELD_LENGTH;
  }
  return Reason::NONE;
}

StepResult route_step(Core& core, Exchange& ex) {
  core.journal.stage(ex.slot, Stage::ROUTE, core.now);
  const StepResult result = find_answer(core, ex);
  // An application reads the body; all other answers leave it.
  if (result != StepResult::DISPATCH && ex.head.body != BodyKind::NONE) leave_body_unread(core, ex);
  return result;
}

void execute_instead(Core& core, Exchange& ex, std::string_view target) {
  const auto say = [&](Reason reason) {
    ex.reason = reason;
    resume_exchange(core, ex, Step::DELIVER);
  };
  if (++ex.executed > EXECUTE_MAX) return say(Reason::EXECUTE_LOOP);
  const size_t mark = target.find('?');
  DecodeRules rules = ex.config->decode_rules;
  rules.segment_bytes = ex.site->segment_bytes;
  rules.segments = ex.site->segments;
  const std::string_view raw = target.substr(0, mark);
  if (!raw.starts_with('/') || raw.size() > ex.site->url_bytes) return say(Reason::WORKER_HEAD_INVALID);
  ex.path.resize(canonical_bytes_max(raw.size(), rules));
  const CanonicalPath canonical = canonicalise(raw, rules, ex.path);
  if (canonical.reason != Reason::NONE) return say(Reason::WORKER_HEAD_INVALID);
  ex.path.resize(canonical.path.size());
  // Escaped anew: what one application names in its own spelling must not become another URL's entry in the cache.
  std::string escaped(ex.path.size() * 3, '\0');
  ex.instead = escape_path(ex.path, escaped);
  const size_t path_bytes = ex.instead.size();
  if (mark != std::string_view::npos) ex.instead += target.substr(mark);
  RequestHead& head = ex.head;
  head.target = ex.instead;
  head.path = head.target.substr(0, path_bytes);
  head.has_query = mark != std::string_view::npos;
  head.query = head.has_query ? head.target.substr(path_bytes + 1) : std::string_view{};
  if (head.query.size() > ex.site->query_bytes) return say(Reason::WORKER_HEAD_INVALID);
  if (std::ranges::any_of(head.query, [](char c) { return !is_syntax(c, SYNTAX_QUERY); })) {
    return say(Reason::WORKER_HEAD_INVALID);
  }
  if (head.method != Method::HEAD) {  // the body has gone to who named this URL
    head.method = Method::GET;
    head.method_text = method_name(Method::GET);
  }
  ex.looked_up = false;
  ex.route = &RouteTable::find_route(*ex.site, ex.path);
  if (!RouteTable::allows(*ex.route, head.method, head.method_text)) return say(Reason::METHOD_NOT_ALLOWED);
  StepResult found = answer_by_handler(ex);
  if (!ex.route->filters.empty()) found = core.pools->filter_request(ex, found);
  switch (found) {
    case StepResult::PARKED:
      return;
    case StepResult::NEXT:
      return resume_exchange(core, ex, Step::FILL);
    case StepResult::DISPATCH:
      return resume_exchange(core, ex, Step::DISPATCH);
    default:
      return resume_exchange(core, ex, Step::DELIVER);
  }
}

}  // namespace penstock
