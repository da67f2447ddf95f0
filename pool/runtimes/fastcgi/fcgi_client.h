// FcgiClient: the requests of this worker and the connections to its FastCGI application.
//
// At most --connections connections; requests beyond them wait in order. A connection serves one request after the
// other, unless the application says that it multiplexes (FCGI_GET_VALUES, asked once): then up to REQUESTS_MAX at a
// time. Connections are kept for the next request, but not for long, since most applications give each of them a
// process: two seconds, or a tenth of one while another connection has not been answered at all.
//
// A request is asked again, once and on a new connection, where a kept connection was closed before a word of the
// answer came, the method is idempotent and no body was sent. Else a lost connection is 502, with its reason in the
// request's log. A request whose answer nobody wants is aborted (FCGI_ABORT_REQUEST); a second later its connection is
// closed. Where the request overran and the application was started here, this worker ends instead, after a twentieth
// of a second: a process of it is lost, and only its end gives the place back.
#pragma once

#include "pool/runtimes/fastcgi/fastcgi_settings.h"
#include "pool/runtimes/fastcgi/fcgi_connection.h"
#include "pool/runtimes/fastcgi/fcgi_request.h"
#include "pool/runtimes/gateway/runtime_loop.h"

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace penstock {

class FcgiClient {
 public:
  static constexpr size_t REQUESTS_MAX = 32;  // on one connection
  FcgiClient(const FastcgiSettings& settings, const FcgiAddress& address, RuntimeLoop& loop, ErrorOutput& errors);
  FcgiClient(const FcgiClient&) = delete;
  FcgiClient& operator=(const FcgiClient&) = delete;
  ~FcgiClient();

  // The SDK's callbacks.
  void request(penstock_exchange* exchange);
  static void body(FcgiRequest& request, std::string_view bytes, bool last);
  void writable(FcgiRequest& request);
  void cancelled(FcgiRequest& request, bool overran);  // overran: request_timeout is over

 private:
  void serve_waiting();
  [[nodiscard]] FcgiConnection* pick(bool fresh);
  [[nodiscard]] Result<FcgiConnection*> open();
  void close_one_idle();  // where no other may be opened
  void ask_once();
  void ended(FcgiConnection& connection, FcgiRequest& request, FcgiConnection::End how, uint32_t status);
  void lost(FcgiConnection& connection, const std::string& why);
  void ask_again(FcgiRequest& request);
  void keep_or_close(FcgiConnection& connection);
  void look_at_idle(FcgiConnection& connection);
  [[nodiscard]] bool somebody_starves() const;
  // The answer is over and the application is not: a second, an abort, a second, and it is let go.
  void settle(FcgiRequest& request);
  void abandon(FcgiRequest& request);
  void end_worker(FcgiRequest& request);
  void drop_if_done(FcgiRequest& request);
  void bury(FcgiConnection& connection);
  void at_end();

  const FastcgiSettings& settings_;
  const FcgiAddress& address_;
  RuntimeLoop& loop_;
  ErrorOutput& errors_;
  FcgiConnection::Host host_;
  std::unordered_map<FcgiRequest*, std::unique_ptr<FcgiRequest>> requests_;
  std::vector<std::unique_ptr<FcgiConnection>> connections_;
  std::deque<FcgiRequest*> waiting_;
  FcgiConnection* asking_ = nullptr;  // one of connections_, for FCGI_GET_VALUES alone
  RuntimeLoop::Timer asking_timer_;
  RuntimeLoop::Timer full_timer_;  // the application's queue was full
  bool asked_ = false;
  size_t per_connection_ = 1;
  std::vector<std::unique_ptr<FcgiRequest>> buried_requests_;  // they may be on the stack
  std::vector<std::unique_ptr<FcgiConnection>> buried_connections_;
  bool at_end_ = false;
};

}  // namespace penstock
