// GatewayAnswer: the output of a CGI or FastCGI application becomes the answer of an exchange.
//
// Takes the output as it comes, finds the head, begins the answer, writes its body and ends it. Holds back: what the
// client does not take is kept, at most what one feed() brought, and is_full() says not to bring more. What an
// application must not do never reaches the front end: a head that is bad, too large or missing is 502 with a line in
// the request's log; a body where there can be none, or beyond the announced length, is dropped; one that is shorter is
// cut off so that the client sees it.
#pragma once

#include "pool/runtimes/gateway/cgi_head.h"
#include "pool/runtimes/gateway/error_lines.h"
#include "pool/sdk/penstock_worker.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class GatewayAnswer {
 public:
  // `who`: the application, for log lines. `exchange` may already be over as far as this is concerned: null.
  GatewayAnswer(penstock_exchange* exchange, std::string who, ErrorOutput& errors);
  GatewayAnswer(const GatewayAnswer&) = delete;
  GatewayAnswer& operator=(const GatewayAnswer&) = delete;

  // The exchange while its answer is not all given; null afterwards.
  [[nodiscard]] penstock_exchange* exchange() const { return exchange_; }
  [[nodiscard]] bool open() const { return exchange_ != nullptr; }
  [[nodiscard]] bool is_full() const { return !kept_.empty(); }
  [[nodiscard]] bool begun() const { return begun_; }

  // REQUIRES: !is_full(). After the answer is over, it is dropped. `holds`: more may follow at once, and show() comes
  // before anything is waited for; so an answer that is whole by then goes out in one message, with its length.
  void feed(std::string_view output, bool holds = false);
  void show();
  // From the SDK's callback.
  void writable();
  // The output is whole. The answer ends as soon as the client has taken it all.
  void finish();
  // It will never be: `why` continues the application's name ("was killed by SIGSEGV").
  void fail(std::string_view why);
  // The application is not asked at all: a short page with this status.
  void refuse(unsigned status, std::string_view why);
  // From the SDK's callback: nothing more may be sent.
  void cancelled();

 private:
  void begin(std::string_view first, bool holds);
  void begin_unended(std::string_view first);
  [[nodiscard]] std::vector<penstock_header> fields() const;
  void write(std::string_view body);
  void end();
  void log(std::string_view why);
  [[nodiscard]] bool whole() const { return left_ == 0 && knows_length_; }

  penstock_exchange* exchange_;
  std::string who_;
  ErrorOutput& errors_;
  CgiHeadParser parser_;
  std::string kept_;
  std::string held_;  // the first of the body, while its head is not sent either
  bool holds_ = false;
  uint64_t left_ = 0;  // of the announced length
  bool begun_ = false;
  bool knows_length_ = false;
  bool drops_body_ = false;  // HEAD, 204, 304
  bool finished_ = false;
};

// "Not Found"; "Error" for what no runtime says.
[[nodiscard]] std::string_view refusal_phrase(unsigned status);

}  // namespace penstock
