// UpstreamRequest: one exchange on its way through an application. Plain data with its answer; the rules are the
// client's and the connection's.
#pragma once

#include "pool/runtimes/gateway/error_lines.h"
#include "pool/runtimes/gateway/gateway_answer.h"
#include "pool/runtimes/gateway/meta_variables.h"
#include "pool/runtimes/gateway/runtime_loop.h"

#include <cstdint>
#include <string>

namespace penstock {

class UpstreamConnection;

struct UpstreamRequest {
  UpstreamRequest(penstock_exchange* exchange, const std::string& who, ErrorOutput& errors)
      : answer(exchange, who, errors), lines(errors, "[" + std::to_string(penstock_serial(exchange)) + "] ") {}

  GatewayAnswer answer;
  ErrorLines lines;         // of its STDERR
  MetaVariables variables;  // FastCGI
  std::string opening;      // other protocols: all that goes before its body
  bool chunks_body = false;
  bool answers_head = false;  // its method is HEAD
  size_t logged_bytes = 0;    // of its STDERR, in the request's log record
  bool body_follows = false;
  bool idempotent = false;

  UpstreamConnection* connection = nullptr;  // while the application has it
  uint16_t id = 0;                           // on that connection
  bool body_sent = false;                    // all of it
  bool paused = false;                       // its body is held back
  bool heard = false;                        // the application has sent something for it
  bool retried = false;
  RuntimeLoop::Timer timer;
};

}  // namespace penstock
