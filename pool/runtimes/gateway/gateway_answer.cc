#include "pool/runtimes/gateway/gateway_answer.h"

#include "src/base/assert.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace penstock {
namespace {

constexpr size_t HELD_MAX = 16 * 1'024;

penstock_string string_of(std::string_view view) { return {view.data(), view.size()}; }

}  // namespace

std::string_view refusal_phrase(unsigned status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 411:
      return "Length Required";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

GatewayAnswer::GatewayAnswer(penstock_exchange* exchange, std::string who, ErrorOutput& errors)
    : exchange_(exchange), who_(std::move(who)), errors_(errors) {}

void GatewayAnswer::log(std::string_view why) {
  constexpr size_t WORDS_MAX = 1'024;  // of each: file names can be long
  std::string words = who_.substr(0, WORDS_MAX) + " ";
  words += why.substr(0, WORDS_MAX);
  if (exchange_ != nullptr) penstock_log(exchange_, string_of(words));
  errors_.line("penstock: ", words);
}

void GatewayAnswer::feed(std::string_view output, bool holds) {
  ASSERT(!is_full());
  if (!open()) return;
  if (holds_ && holds && held_.size() + output.size() <= HELD_MAX) {
    held_ += output;
    return;
  }
  show();
  if (is_full()) {
    kept_ += output;
    return;
  }
  if (begun_) return write(output);
  size_t consumed = 0;
  switch (parser_.feed(output, consumed)) {
    case CgiHeadParser::State::NEED_MORE:
      return;
    case CgiHeadParser::State::BAD:
      return fail("sent a head that " + std::string(parser_.error()));
    case CgiHeadParser::State::COMPLETE:
      return begin(output.substr(consumed), holds);
  }
}

std::vector<penstock_header> GatewayAnswer::fields() const {
  std::vector<penstock_header> fields;
  fields.reserve(parser_.head().fields.size());
  for (const auto& [name, value] : parser_.head().fields) fields.push_back({string_of(name), string_of(value)});
  return fields;
}

void GatewayAnswer::begin(std::string_view first, bool holds) {
  const CgiHead& head = parser_.head();
  if (!head.local_redirect.empty()) {
    penstock_execute(std::exchange(exchange_, nullptr), string_of(head.local_redirect));
    return;
  }
  const std::vector<penstock_header> all = fields();
  if (penstock_head_fits(all.data(), all.size()) == 0) return fail("sent a head of more than 32 KiB or 128 fields");
  const penstock_string method = penstock_method(exchange_);
  drops_body_ = head.status == 204 || head.status == 304 || std::string_view(method.data, method.size) == "HEAD";
  knows_length_ = head.content_length.has_value() && !drops_body_;
  left_ = head.content_length.value_or(0);
  begun_ = true;
  if (knows_length_ && first.size() == left_) {  // all of it, in one message
    penstock_answer(std::exchange(exchange_, nullptr), head.status, all.data(), all.size(), first.data(), first.size());
    return;
  }
  holds_ = holds && !knows_length_ && !drops_body_ && first.size() <= HELD_MAX;
  if (holds_) {
    held_ = first;
  } else {
    begin_unended(first);
  }
}

void GatewayAnswer::begin_unended(std::string_view first) {
  const CgiHead& head = parser_.head();
  const bool bodyless = head.status == 204 || head.status == 304;
  const std::vector<penstock_header> all = fields();
  penstock_begin(exchange_, head.status, all.data(), all.size(),
                 head.content_length && !bodyless ? *head.content_length : PENSTOCK_UNKNOWN_LENGTH);
  write(first);
}

void GatewayAnswer::show() {
  if (!std::exchange(holds_, false)) return;
  const std::string first = std::exchange(held_, {});
  if (open()) begin_unended(first);
}

void GatewayAnswer::write(std::string_view body) {
  if (drops_body_) return;
  if (knows_length_ && body.size() > left_) {
    log("wrote more than its Content-Length; the rest was dropped");
    body = body.substr(0, left_);
  }
  const size_t taken = penstock_write(exchange_, body.data(), body.size());
  left_ -= knows_length_ ? taken : 0;
  kept_.assign(body.substr(taken));
  if (whole()) end();
}

void GatewayAnswer::writable() {
  if (!open()) return;
  const std::string due = std::exchange(kept_, {});
  write(due);
  if (open() && !is_full() && finished_) finish();
}

void GatewayAnswer::finish() {
  finished_ = true;
  if (!open() || is_full()) return;
  if (!begun_) return fail(parser_.empty() ? "ended without an answer" : "ended before its head was whole");
  if (knows_length_ && left_ > 0) return fail("wrote less than its Content-Length");
  if (std::exchange(holds_, false)) {  // so its length is known after all
    const std::vector<penstock_header> all = fields();
    penstock_answer(std::exchange(exchange_, nullptr), parser_.head().status, all.data(), all.size(), held_.data(),
                    held_.size());
    return;
  }
  end();
}

void GatewayAnswer::end() {
  kept_.clear();
  penstock_end(std::exchange(exchange_, nullptr));
}

void GatewayAnswer::cancelled() {
  exchange_ = nullptr;
  kept_.clear();
}

void GatewayAnswer::fail(std::string_view why) {
  if (!open()) return;
  log(why);
  kept_.clear();
  penstock_abort(std::exchange(exchange_, nullptr));
}

void GatewayAnswer::refuse(unsigned status, std::string_view why) {
  if (!open()) return;
  ASSERT(!begun_);
  if (!why.empty()) log(why);
  const std::string page = std::to_string(status) + " " + std::string(refusal_phrase(status)) + "\n";
  const penstock_header type = {PENSTOCK_TEXT("Content-Type"), PENSTOCK_TEXT("text/plain")};
  penstock_answer(std::exchange(exchange_, nullptr), status, &type, 1, page.data(), page.size());
}

}  // namespace penstock
