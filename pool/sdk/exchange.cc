// Invariant: what is pending goes out before anything newer; so each call first looks whether something is.
#include "pool/sdk/exchange.h"

#include "pool/ring/cache_names.h"
#include "pool/sdk/worker.h"
#include "src/base/assert.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <strings.h>

using namespace penstock;

namespace penstock {
namespace {

using Kind = SdkPending::Kind;

// An exchange's policy, as views for the time of one send.
struct PolicyViews {
  explicit PolicyViews(const penstock_exchange& exchange) {
    if (exchange.policy == nullptr || exchange.channel->link.version() < 2) return;
    const SdkPolicy& from = *exchange.policy;
    vary.assign(from.vary.begin(), from.vary.end());
    tags.assign(from.tags.begin(), from.tags.end());
    says = {.never = from.never,
            .revalidate_ms = from.revalidate_ms,
            .error_ms = from.error_ms,
            .vary = vary,
            .tags = tags};
    sent = &says;
  }
  PolicyViews(const PolicyViews&) = delete;
  PolicyViews& operator=(const PolicyViews&) = delete;

  const WorkerPolicy* sent = nullptr;

 private:
  std::vector<std::string_view> vary;
  std::vector<std::string_view> tags;
  WorkerPolicy says;
};

// What keeps an answer out of the cache of a server that knows no policy, where it may not be in there: such a server
// keeps nothing that varies. Empty: nothing is needed.
std::string vary_for_version_1(const penstock_exchange& exchange) {
  if (exchange.policy == nullptr || exchange.channel->link.version() >= 2) return {};
  if (exchange.policy->never) return "*";
  std::string names;
  for (const std::string& name : exchange.policy->vary) names.append(names.empty() ? "" : ", ").append(name);
  return names;
}

WorkerHead head_of(const SdkPending& from, std::vector<std::pair<std::string_view, std::string_view>>& fields) {
  for (const auto& [name, value] : from.fields) fields.emplace_back(name, value);
  return {.status = from.status, .ttl_ms = from.ttl_ms, .length = from.length, .fields = fields};
}

// The application is done with it; what is pending still goes out.
void let_go(penstock_exchange& exchange) {
  exchange.handed_out = false;
  exchange.wants_room = false;
}

// As many bytes as window and rings take. A piece is at most a quarter of the arena, so that others find room, too.
size_t send_bytes(penstock_exchange& exchange, std::string_view bytes) {
  WorkerLink& link = exchange.channel->link;
  size_t sent = 0;
  while (sent < bytes.size()) {
    const size_t piece = std::min<size_t>({bytes.size() - sent, link.window(exchange.handle), link.piece_max()});
    if (piece == 0) return sent;
    if (!link.send_data(exchange.handle, bytes.substr(sent, piece), false)) {
      exchange.channel->starving = true;
      return sent;
    }
    sent += piece;
  }
  return sent;
}

// Whether all of it is out.
bool send_pending(penstock_exchange& exchange, SdkPending& what) {
  WorkerLink& link = exchange.channel->link;
  const Handle handle = exchange.handle;
  std::vector<std::pair<std::string_view, std::string_view>> fields;
  bool sent = false;
  switch (what.kind) {
    case Kind::DATA:
      what.offset += send_bytes(exchange, std::string_view(what.text).substr(what.offset));
      return what.offset == what.text.size();
    case Kind::HEAD: {
      const PolicyViews policy(exchange);
      WorkerHead head = head_of(what, fields);
      head.policy = policy.sent;
      sent = link.send_head(handle, head, {}, false);
      break;
    }
    case Kind::FILE:
      sent = link.send_file(handle, what.text, what.offset, what.length, false);
      break;
    case Kind::ENTRY:
      sent = link.send_entry(handle, what.text, false);
      break;
    case Kind::LOG:
      sent = link.log(handle, what.text);
      break;
    case Kind::EXECUTE:
      sent = link.execute(handle, what.text);
      break;
    case Kind::ABORT:
      sent = link.abort(handle);
      break;
    case Kind::END:
      sent = link.send_data(handle, {}, true);
      break;
    case Kind::VERDICT:
      sent = sdk_send_verdict(exchange);
      break;
  }
  if (!sent) exchange.channel->starving = true;
  return sent;
}

bool ends(Kind kind) {
  return kind == Kind::END || kind == Kind::EXECUTE || kind == Kind::ABORT || kind == Kind::VERDICT;
}

// Now, or as soon as there is room.
void send_or_keep(penstock_exchange& exchange, SdkPending what) {
  if (exchange.pending.empty() && send_pending(exchange, what)) {
    if (ends(what.kind)) sdk_finish(exchange);
    return;
  }
  exchange.pending.push_back(std::move(what));
  sdk_list(exchange);
}

void flush_pending(penstock_exchange& exchange) {
  while (exchange.open && !exchange.pending.empty()) {
    if (!send_pending(exchange, exchange.pending.front())) return sdk_list(exchange);
    const Kind kind = exchange.pending.front().kind;
    exchange.pending.erase(exchange.pending.begin());
    if (ends(kind)) sdk_finish(exchange);
  }
}

void tell_consumed(penstock_exchange& exchange) {
  if (exchange.unconsumed == 0) return;
  if (exchange.channel->link.consumed(exchange.handle, exchange.unconsumed)) {
    exchange.unconsumed = 0;
  } else {
    exchange.channel->starving = true;
    sdk_list(exchange);
  }
}

void hand_out_body(penstock_exchange& exchange) {
  const penstock_worker& worker = *exchange.worker;
  while (exchange.open && !exchange.body.empty() && !(exchange.paused && exchange.handed_out)) {
    const penstock_exchange::Piece piece = exchange.body.front();
    exchange.body.erase(exchange.body.begin());
    // An application that has answered already, or does not care, has it read and dropped.
    if (exchange.handed_out && worker.callbacks.body != nullptr) {
      worker.callbacks.body(&exchange, piece.bytes.data(), piece.bytes.size(), piece.last ? 1 : 0, worker.context);
    }
    if (!piece.inline_piece) ++exchange.unconsumed;
  }
  if (exchange.open) tell_consumed(exchange);
}

penstock_exchange& wanted(penstock_exchange* exchange) {
  ASSERT(exchange != nullptr && exchange->open && exchange->handed_out);
  return *exchange;
}

penstock_string text_of(const penstock_exchange* exchange, penstock_text text) {
  return sdk_text(exchange->head, text);
}

// Only of a request that nobody has answered yet: what ends in a verdict alone is no exchange to answer.
bool may_answer(const penstock_exchange& exchange) {
  return exchange.filter == nullptr || exchange.filter->asked == PENSTOCK_FILTER_REQUEST;
}

// A text of the client's certificate, which lies right behind the head, if there is one.
penstock_string client_text(const penstock_exchange* exchange, penstock_text penstock_client_certificate::*which) {
  if (exchange->head->client != PENSTOCK_CLIENT_VERIFIED) return {"", 0};
  penstock_client_certificate certificate{};
  std::memcpy(&certificate, exchange->head + 1, sizeof certificate);
  return text_of(exchange, certificate.*which);
}

std::string_view view(penstock_string text) { return {text.data, text.size}; }

SdkPending head(penstock_exchange& exchange, unsigned status, const penstock_header* fields, size_t count,
                uint64_t length) {
  ASSERT(!exchange.begun && status >= 200 && status <= 599 && penstock_head_fits(fields, count));
  ASSERT(may_answer(exchange));
  exchange.begun = true;
  SdkPending what{
      .kind = Kind::HEAD, .status = static_cast<uint16_t>(status), .ttl_ms = exchange.ttl_ms, .length = length};
  for (size_t i = 0; i < count; ++i) what.fields.emplace_back(view(fields[i].name), view(fields[i].value));
  // One of PENSTOCK_FIELDS_MAX fields more would be one too many; such an answer goes as its fields say.
  if (std::string names = vary_for_version_1(exchange); !names.empty() && count < PENSTOCK_FIELDS_MAX) {
    what.fields.emplace_back("Vary", std::move(names));
  }
  return what;
}

// The common answer: everything in one descriptor, without a copy but that into the ring.
bool answer_at_once(penstock_exchange& exchange, unsigned status, const penstock_header* fields, size_t count,
                    std::string_view body) {
  constexpr size_t FIELDS_MAX = 32;
  ASSERT(penstock_head_fits(fields, count));
  if (count > FIELDS_MAX || !exchange.pending.empty() || body.size() > exchange.channel->link.piece_max()) return false;
  if (exchange.policy != nullptr && exchange.channel->link.version() < 2) return false;
  std::pair<std::string_view, std::string_view> views[FIELDS_MAX];
  for (size_t i = 0; i < count; ++i) views[i] = {view(fields[i].name), view(fields[i].value)};
  const PolicyViews policy(exchange);
  const WorkerHead head{.status = static_cast<uint16_t>(status),
                        .ttl_ms = exchange.ttl_ms,
                        .length = body.size(),
                        .fields = std::span(views).first(count),
                        .policy = policy.sent};
  return exchange.channel->link.send_head(exchange.handle, head, body, true);
}

}  // namespace

void sdk_list(penstock_exchange& exchange) {
  if (exchange.listed) return;
  exchange.listed = true;
  exchange.channel->busy.push_back(&exchange);
}

void sdk_end_with(penstock_exchange& exchange, SdkPending what) {
  let_go(exchange);
  send_or_keep(exchange, std::move(what));
}

penstock_string sdk_text(const void* block, penstock_text text) {
  return {static_cast<const char*>(block) + text.at, text.bytes};
}

penstock_header sdk_field(const void* block, uint32_t fields_at, size_t number) {
  penstock_field field{};
  std::memcpy(&field, static_cast<const char*>(block) + fields_at + number * sizeof field, sizeof field);
  return {sdk_text(block, field.name), sdk_text(block, field.value)};
}

penstock_string sdk_field_value(const void* block, uint32_t fields_at, size_t count, const char* name) {
  const size_t size = std::strlen(name);
  for (size_t i = 0; i < count; ++i) {
    const penstock_header field = sdk_field(block, fields_at, i);
    if (field.name.size == size && ::strncasecmp(field.name.data, name, size) == 0) return field.value;
  }
  return {nullptr, 0};
}

void sdk_finish(penstock_exchange& exchange) {
  ASSERT(exchange.open);
  exchange.open = exchange.handed_out = false;
  exchange.body.clear();
  exchange.pending.clear();
  --exchange.worker->open_exchanges;
}

void sdk_cancel(penstock_exchange& exchange, penstock_why_cancelled why) {
  if (!exchange.handed_out) return;
  let_go(exchange);
  if (exchange.worker->callbacks.cancelled != nullptr) {
    exchange.worker->callbacks.cancelled(&exchange, why, exchange.worker->context);
  }
}

void sdk_advance(penstock_exchange& exchange) {
  flush_pending(exchange);
  if (exchange.open) tell_consumed(exchange);
  if (exchange.open) hand_out_body(exchange);
  if (exchange.open && exchange.wants_room && exchange.pending.empty() &&
      exchange.channel->link.window(exchange.handle) > 0) {
    exchange.wants_room = false;
    exchange.worker->callbacks.writable(&exchange, exchange.worker->context);
  }
}

}  // namespace penstock

// --- the request ----------------------------------------------------------------------------

penstock_worker* penstock_worker_of(const penstock_exchange* exchange) { return exchange->worker; }

penstock_string penstock_method(const penstock_exchange* exchange) { return text_of(exchange, exchange->head->method); }
penstock_string penstock_target(const penstock_exchange* exchange) { return text_of(exchange, exchange->head->target); }
penstock_string penstock_path(const penstock_exchange* exchange) { return text_of(exchange, exchange->head->path); }
penstock_string penstock_query(const penstock_exchange* exchange) { return text_of(exchange, exchange->head->query); }
penstock_string penstock_authority(const penstock_exchange* exchange) {
  return text_of(exchange, exchange->head->authority);
}
penstock_string penstock_route_prefix(const penstock_exchange* exchange) {
  return text_of(exchange, exchange->head->route_prefix);
}
penstock_string penstock_remote_address(const penstock_exchange* exchange) {
  return text_of(exchange, exchange->head->remote_address);
}
penstock_string penstock_server_address(const penstock_exchange* exchange) {
  return text_of(exchange, exchange->head->server_address);
}
penstock_string penstock_site(const penstock_exchange* exchange) { return text_of(exchange, exchange->head->site); }
uint16_t penstock_remote_port(const penstock_exchange* exchange) { return exchange->head->remote_port; }
uint16_t penstock_server_port(const penstock_exchange* exchange) { return exchange->head->server_port; }
int penstock_is_secure(const penstock_exchange* exchange) { return exchange->head->secure; }
penstock_string penstock_client_verify(const penstock_exchange* exchange) {
  switch (exchange->head->client) {
    case PENSTOCK_CLIENT_VERIFIED:
      return {"SUCCESS", 7};
    case PENSTOCK_CLIENT_NONE:
      return {"NONE", 4};
    default:
      return {"", 0};
  }
}
penstock_string penstock_client_subject(const penstock_exchange* exchange) {
  return client_text(exchange, &penstock_client_certificate::subject);
}
penstock_string penstock_client_fingerprint(const penstock_exchange* exchange) {
  return client_text(exchange, &penstock_client_certificate::fingerprint);
}
int penstock_has_query(const penstock_exchange* exchange) { return exchange->head->has_query; }
uint64_t penstock_serial(const penstock_exchange* exchange) { return exchange->serial; }

void penstock_version(const penstock_exchange* exchange, unsigned* major, unsigned* minor) {
  *major = exchange->head->version_major;
  *minor = exchange->head->version_minor;
}

size_t penstock_header_count(const penstock_exchange* exchange) { return exchange->head->field_count; }

penstock_header penstock_header_at(const penstock_exchange* exchange, size_t number) {
  ASSERT(number < exchange->head->field_count);
  return sdk_field(exchange->head, exchange->head->fields_at, number);
}

penstock_string penstock_header_value(const penstock_exchange* exchange, const char* name) {
  return sdk_field_value(exchange->head, exchange->head->fields_at, exchange->head->field_count, name);
}

uint64_t penstock_body_length(const penstock_exchange* exchange) { return exchange->body_length; }
void penstock_pause(penstock_exchange* exchange) { wanted(exchange).paused = true; }
void penstock_resume(penstock_exchange* exchange) {
  wanted(exchange).paused = false;
  exchange->worker->resumed = true;
  sdk_list(*exchange);
}
void penstock_set_data(penstock_exchange* exchange, void* data) { exchange->data = data; }
void* penstock_data(const penstock_exchange* exchange) { return exchange->data; }
int penstock_is_cancelled(const penstock_exchange* exchange) {
  return exchange->channel->link.is_cancelled(exchange->handle) ? 1 : 0;
}

// --- the answer -----------------------------------------------------------------------------

int penstock_head_fits(const penstock_header* fields, size_t field_count) {
  static_assert(PENSTOCK_FIELDS_MAX == PENSTOCK_HEAD_FIELDS && PENSTOCK_HEAD_BYTES_MAX == PENSTOCK_HEAD_BYTES);
  if (field_count > PENSTOCK_FIELDS_MAX) return 0;
  size_t bytes = sizeof(penstock_response_head);
  for (size_t i = 0; i < field_count; ++i) {
    if (fields[i].name.size > PENSTOCK_HEAD_BYTES_MAX || fields[i].value.size > PENSTOCK_HEAD_BYTES_MAX) return 0;
    bytes += sizeof(penstock_field) + fields[i].name.size + fields[i].value.size + 2;  // a NUL behind each
  }
  return bytes <= PENSTOCK_HEAD_BYTES_MAX ? 1 : 0;
}

void penstock_answer(penstock_exchange* exchange, unsigned status, const penstock_header* fields, size_t field_count,
                     const void* body, size_t body_size) {
  penstock_exchange& ex = wanted(exchange);
  ASSERT(!ex.begun && status >= 200 && status <= 599 && may_answer(ex));
  const std::string_view bytes{static_cast<const char*>(body), body_size};
  if (answer_at_once(ex, status, fields, field_count, bytes)) return sdk_finish(ex);
  send_or_keep(ex, head(ex, status, fields, field_count, body_size));
  if (body_size > 0) send_or_keep(ex, {.kind = Kind::DATA, .text = std::string(bytes)});
  penstock_end(exchange);
}

void penstock_begin(penstock_exchange* exchange, unsigned status, const penstock_header* fields, size_t field_count,
                    uint64_t length) {
  penstock_exchange& ex = wanted(exchange);
  send_or_keep(ex, head(ex, status, fields, field_count, length));
}

size_t penstock_write(penstock_exchange* exchange, const void* bytes, size_t size) {
  penstock_exchange& ex = wanted(exchange);
  ASSERT(ex.begun);
  const size_t taken = ex.pending.empty() ? send_bytes(ex, {static_cast<const char*>(bytes), size}) : 0;
  if (taken < size && ex.worker->callbacks.writable != nullptr) {
    ex.wants_room = true;
    sdk_list(ex);
  }
  return taken;
}

void penstock_end(penstock_exchange* exchange) {
  penstock_exchange& ex = wanted(exchange);
  ASSERT(ex.begun);
  let_go(ex);
  send_or_keep(ex, {.kind = Kind::END});
}

void penstock_write_file(penstock_exchange* exchange, penstock_string path, uint64_t offset, uint64_t length) {
  penstock_exchange& ex = wanted(exchange);
  ASSERT(ex.begun);
  send_or_keep(ex, {.kind = Kind::FILE, .offset = offset, .length = length, .text = std::string(view(path))});
}

void penstock_write_entry(penstock_exchange* exchange, penstock_string path) {
  penstock_exchange& ex = wanted(exchange);
  ASSERT(ex.begun);
  send_or_keep(ex, {.kind = Kind::ENTRY, .text = std::string(view(path))});
}

void penstock_execute(penstock_exchange* exchange, penstock_string target) {
  penstock_exchange& ex = wanted(exchange);
  ASSERT(!ex.begun && ex.filter == nullptr);
  let_go(ex);
  send_or_keep(ex, {.kind = Kind::EXECUTE, .text = std::string(view(target))});
}

void penstock_abort(penstock_exchange* exchange) {
  penstock_exchange& ex = wanted(exchange);
  let_go(ex);
  ex.pending.clear();
  send_or_keep(ex, {.kind = Kind::ABORT});
}

int penstock_cache(penstock_exchange* exchange, const penstock_cache_policy* policy) {
  static_assert(PENSTOCK_CACHE_VARY_MAX == PENSTOCK_POLICY_VARY_MAX &&
                PENSTOCK_CACHE_TAGS_MAX == PENSTOCK_POLICY_TAGS_MAX);
  penstock_exchange& ex = wanted(exchange);
  ASSERT(!ex.begun && policy != nullptr);
  ex.ttl_ms = 0;
  ex.policy = std::make_unique<SdkPolicy>(SdkPolicy{.never = true});
  if (policy->fresh_ms == 0) return 0;
  SdkPolicy copy{.revalidate_ms = policy->revalidate_ms, .error_ms = policy->error_ms};
  if (policy->vary_count > PENSTOCK_CACHE_VARY_MAX || policy->tag_count > PENSTOCK_CACHE_TAGS_MAX) return -E2BIG;
  for (size_t i = 0; i < policy->vary_count; ++i) {
    const std::string_view name = view(policy->vary[i]);
    if (name.size() > PENSTOCK_POLICY_VARY_BYTES) return -E2BIG;
    if (!is_vary_name(name)) return -EINVAL;
    copy.vary.emplace_back(name);
  }
  for (size_t i = 0; i < policy->tag_count; ++i) {
    const std::string_view tag = view(policy->tags[i]);
    if (tag.size() > PENSTOCK_POLICY_TAG_BYTES) return -E2BIG;
    if (!is_cache_tag(tag)) return -EINVAL;
    copy.tags.emplace_back(tag);
  }
  *ex.policy = std::move(copy);
  // A server of version 1 would answer everybody with it.
  if (ex.channel->link.version() >= 2 || policy->vary_count == 0) ex.ttl_ms = policy->fresh_ms;
  return 0;
}

void penstock_cache_for(penstock_exchange* exchange, uint32_t milliseconds) {
  ASSERT(!wanted(exchange).begun);
  exchange->policy.reset();
  exchange->ttl_ms = milliseconds;
}

void penstock_log(penstock_exchange* exchange, penstock_string text) {
  penstock_exchange& ex = wanted(exchange);
  send_or_keep(ex, {.kind = Kind::LOG, .text = std::string(view(text).substr(0, 8 * 1'024))});
}
