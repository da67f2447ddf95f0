// The filter's side of penstock_worker.h: what it is asked, what it says, and the verdict that ends its exchange.
#include "pool/sdk/worker.h"
#include "src/base/assert.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

using namespace penstock;

namespace penstock {
namespace {

SdkFilter& asked(penstock_exchange* exchange) {
  ASSERT(exchange != nullptr && exchange->open && exchange->handed_out && exchange->filter != nullptr);
  return *exchange->filter;
}

// RFC 9110 section 5.6.2.
bool is_token(std::string_view name) {
  constexpr std::string_view OTHERS = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::ranges::all_of(name, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           OTHERS.find(c) != std::string_view::npos;
  });
}

// RFC 9110 section 5.5, without white space at its ends, which is none of the value.
bool is_value(std::string_view value) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  if (!value.empty() && (blank(value.front()) || blank(value.back()))) return false;
  return std::ranges::all_of(value, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7f) || c == '\t';
  });
}

bool is_visible(std::string_view text, char lowest) {
  return std::ranges::all_of(text, [lowest](char c) { return c >= lowest && c < 0x7f; });
}

// Room for so many bytes more of text in the verdict.
bool take_room(SdkFilter& filter, size_t bytes) {
  if (bytes > PENSTOCK_HEAD_BYTES || filter.bytes + bytes > PENSTOCK_HEAD_BYTES) return false;
  filter.bytes += bytes;
  return true;
}

int edit(penstock_exchange* exchange, penstock_edit_what what, penstock_string name, penstock_string value) {
  SdkFilter& filter = asked(exchange);
  ASSERT(filter.asked != PENSTOCK_FILTER_LOG);
  SdkFilter::Edit change{.what = what, .name = {name.data, name.size}, .value = {}};
  if (value.size > 0) change.value.assign(value.data, value.size);
  if (!is_token(change.name) || !is_value(change.value)) return -EINVAL;
  if (filter.edits.size() >= PENSTOCK_HEAD_FIELDS) return -E2BIG;
  if (!take_room(filter, sizeof(penstock_edit) + name.size + value.size + 2)) return -E2BIG;
  filter.edits.push_back(std::move(change));
  return 0;
}

uint32_t wants_of(const penstock_callbacks& hooks) {
  return (hooks.filter_response != nullptr ? uint32_t{PENSTOCK_WANTS_RESPONSE} : 0) |
         (hooks.filter_log != nullptr ? uint32_t{PENSTOCK_WANTS_LOG} : 0);
}

const penstock_response_head* response_of(const penstock_exchange* exchange) {
  return exchange->filter != nullptr ? exchange->filter->response : nullptr;
}

}  // namespace

bool sdk_send_verdict(penstock_exchange& exchange) {
  const SdkFilter& filter = *exchange.filter;
  std::vector<WorkerEdit> edits;
  for (const SdkFilter::Edit& one : filter.edits) {
    edits.push_back({.what = one.what, .name = one.name, .value = one.value});
  }
  const bool of_request = filter.asked == PENSTOCK_FILTER_REQUEST;
  return exchange.channel->link.send_verdict(exchange.handle,
                                             {.status = filter.status,
                                              .wants = of_request ? wants_of(exchange.worker->callbacks) : 0,
                                              .target = filter.target,
                                              .log = filter.log,
                                              .edits = edits});
}

void sdk_filter_came(penstock_exchange& exchange, const WorkerEvent& event) {
  const penstock_callbacks& hooks = exchange.worker->callbacks;
  exchange.body_length = 0;
  exchange.filter = std::make_unique<SdkFilter>();
  SdkFilter& filter = *exchange.filter;
  filter.asked = event.asked;
  filter.bytes = sizeof(penstock_verdict) + 2;
  filter.response_status = event.status;
  if (!event.body.empty()) filter.response = reinterpret_cast<const penstock_response_head*>(event.body.data());
  void (*hook)(penstock_exchange*, void*) = hooks.filter_request;
  if (event.asked == PENSTOCK_FILTER_RESPONSE) hook = hooks.filter_response;
  if (event.asked == PENSTOCK_FILTER_LOG) {
    hook = hooks.filter_log;
    filter.body_bytes = event.length;
    filter.time_us = event.offset;
  }
  if (hook != nullptr) return hook(&exchange, exchange.worker->context);
  // An application that is no filter must not let by what a filter was to look at.
  const bool filters = hooks.filter_request != nullptr || wants_of(hooks) != 0;
  sdk_end_with(exchange, {.kind = filters ? SdkPending::Kind::VERDICT : SdkPending::Kind::ABORT});
}

}  // namespace penstock

void penstock_filter_pass(penstock_exchange* exchange) {
  (void)asked(exchange);
  ASSERT(!exchange->begun);
  sdk_end_with(*exchange, {.kind = SdkPending::Kind::VERDICT});
}

int penstock_filter_set(penstock_exchange* exchange, penstock_string name, penstock_string value) {
  return edit(exchange, PENSTOCK_EDIT_SET, name, value);
}

int penstock_filter_add(penstock_exchange* exchange, penstock_string name, penstock_string value) {
  return edit(exchange, PENSTOCK_EDIT_ADD, name, value);
}

int penstock_filter_remove(penstock_exchange* exchange, penstock_string name) {
  return edit(exchange, PENSTOCK_EDIT_REMOVE, name, {nullptr, 0});
}

int penstock_filter_set_target(penstock_exchange* exchange, penstock_string target) {
  SdkFilter& filter = asked(exchange);
  ASSERT(filter.asked == PENSTOCK_FILTER_REQUEST);
  const std::string_view text{target.data, target.size};
  if (!text.starts_with('/') || !is_visible(text, '!')) return -EINVAL;
  if (!take_room(filter, text.size())) return -E2BIG;
  filter.target = text;
  return 0;
}

void penstock_filter_set_status(penstock_exchange* exchange, unsigned status) {
  SdkFilter& filter = asked(exchange);
  ASSERT(filter.asked == PENSTOCK_FILTER_RESPONSE && status >= 200 && status <= 599);
  filter.status = static_cast<uint16_t>(status);
}

int penstock_filter_note(penstock_exchange* exchange, penstock_string text) {
  SdkFilter& filter = asked(exchange);
  const std::string_view more{text.data, text.size};
  if (!is_visible(more, ' ')) return -EINVAL;
  if (!take_room(filter, more.size() + 1)) return -E2BIG;
  if (!filter.log.empty()) filter.log += ' ';
  filter.log += more;
  return 0;
}

unsigned penstock_response_status(const penstock_exchange* exchange) {
  return exchange->filter != nullptr ? exchange->filter->response_status : 0;
}

size_t penstock_response_header_count(const penstock_exchange* exchange) {
  const penstock_response_head* const head = response_of(exchange);
  return head != nullptr ? head->field_count : 0;
}

penstock_header penstock_response_header_at(const penstock_exchange* exchange, size_t number) {
  ASSERT(number < penstock_response_header_count(exchange));
  const penstock_response_head* const head = response_of(exchange);
  return sdk_field(head, head->fields_at, number);
}

penstock_string penstock_response_header_value(const penstock_exchange* exchange, const char* name) {
  const penstock_response_head* const head = response_of(exchange);
  if (head == nullptr) return {nullptr, 0};
  return sdk_field_value(head, head->fields_at, head->field_count, name);
}

uint64_t penstock_response_body_bytes(const penstock_exchange* exchange) {
  return exchange->filter != nullptr ? exchange->filter->body_bytes : 0;
}

uint64_t penstock_request_time_us(const penstock_exchange* exchange) {
  return exchange->filter != nullptr ? exchange->filter->time_us : 0;
}
