// UpstreamClient: the requests of this worker and the connections to its application.
//
// At most --connections connections; requests beyond them wait in order. A connection serves one request after the
// other, unless the application says that it multiplexes (FCGI_GET_VALUES, asked once): then up to REQUESTS_MAX at a
// time; over SCGI and uwsgi it serves one. Connections are kept for the next request, but not for long, since most
// applications give each of them a process: two seconds, or a tenth of one while another connection has not been
// answered at all.
//
// A request is asked again, once and on a new connection, where a kept connection was closed before a word of the
// answer came, the method is idempotent and no body was sent. Else a lost connection is 502, with its reason in the
// request's log. A request whose answer nobody wants is aborted (FCGI_ABORT_REQUEST, or the end of our side of the
// connection); a second later its connection is closed. Where the request overran and the application was started here,
// this worker ends instead, after a twentieth of a second: a process of it is lost, and only its end gives the place
// back.
#pragma once

#include "pool/runtimes/gateway/runtime_loop.h"
#include "pool/runtimes/upstream/upstream_connection.h"
#include "pool/runtimes/upstream/upstream_request.h"
#include "pool/runtimes/upstream/upstream_settings.h"

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace penstock {

class UpstreamClient {
 public:
  static constexpr size_t REQUESTS_MAX = 32;  // on one connection
  UpstreamClient(const UpstreamSettings& settings, const UpstreamAddress& address, RuntimeLoop& loop,
                 ErrorOutput& errors);
  UpstreamClient(const UpstreamClient&) = delete;
  UpstreamClient& operator=(const UpstreamClient&) = delete;
  ~UpstreamClient();

  // The SDK's callbacks.
  void request(penstock_exchange* exchange);
  static void body(UpstreamRequest& request, std::string_view bytes, bool last);
  void writable(UpstreamRequest& request);
  void cancelled(UpstreamRequest& request, bool overran);  // overran: request_timeout is over

  // Whether all that the application is to do at a time is under way.
  [[nodiscard]] bool is_full() const { return requests_.size() >= settings_.connections * per_connection_; }

 private:
  void serve_waiting();
  [[nodiscard]] UpstreamConnection* pick(bool fresh);
  [[nodiscard]] std::unique_ptr<UpstreamConnection> make();
  [[nodiscard]] Result<UpstreamConnection*> open();
  void close_one_idle();  // where no other may be opened
  void ask_once();
  void ended(UpstreamConnection& connection, UpstreamRequest& request, UpstreamConnection::End how, uint32_t status);
  void lost(UpstreamConnection& connection, const std::string& why);
  void ask_again(UpstreamRequest& request);
  void keep_or_close(UpstreamConnection& connection);
  void look_at_idle(UpstreamConnection& connection);
  [[nodiscard]] bool somebody_starves() const;
  // What the request begins with, or a status that answers instead and why.
  struct Refusal {
    unsigned status = 0;
    std::string_view why;
  };
  [[nodiscard]] Refusal write(const GatewayRequest& asked, const ScriptMapping& mapping, UpstreamRequest& to) const;
  // The answer is over and the application is not: a second, an abort, a second, and it is let go.
  void settle(UpstreamRequest& request);
  void abandon(UpstreamRequest& request);
  void end_worker(UpstreamRequest& request);
  void drop_if_done(UpstreamRequest& request);
  void bury(UpstreamConnection& connection);
  void at_end();

  const UpstreamSettings& settings_;
  const UpstreamAddress& address_;
  RuntimeLoop& loop_;
  ErrorOutput& errors_;
  UpstreamConnection::Host host_;
  std::unordered_map<UpstreamRequest*, std::unique_ptr<UpstreamRequest>> requests_;
  std::vector<std::unique_ptr<UpstreamConnection>> connections_;
  std::deque<UpstreamRequest*> waiting_;
  UpstreamConnection* asking_ = nullptr;  // one of connections_, for FCGI_GET_VALUES alone
  RuntimeLoop::Timer asking_timer_;
  RuntimeLoop::Timer full_timer_;  // the application's queue was full
  bool asked_ = false;
  size_t per_connection_ = 1;
  std::vector<std::unique_ptr<UpstreamRequest>> buried_requests_;  // they may be on the stack
  std::vector<std::unique_ptr<UpstreamConnection>> buried_connections_;
  bool at_end_ = false;
};

}  // namespace penstock
