// StreamConnection: a connection over which one request and its answer go at a time: HTTP/1.1, and kept for the next
// where both sides may; SCGI and uwsgi, and closed after the answer.
#pragma once

#include "pool/runtimes/upstream/response_reader.h"
#include "pool/runtimes/upstream/upstream_connection.h"

#include <string_view>

namespace penstock {

class StreamConnection final : public UpstreamConnection {
 public:
  StreamConnection(Host& host, const UpstreamAddress& address, ResponseReader::Grammar grammar)
      : UpstreamConnection(host, address), grammar_(grammar) {}
  void begin(UpstreamRequest& request) override;
  void send_body(UpstreamRequest& request, std::string_view bytes, bool last) override;
  // Closes this side: an application that looks sees that nobody waits. Its own end is then waited for.
  void abort(UpstreamRequest& request) override;

 private:
  void understand() override;
  void closed() override;
  void end_exchange();

  ResponseReader::Grammar grammar_;
  ResponseReader reader_;
  bool aborted_ = false;
};

}  // namespace penstock
