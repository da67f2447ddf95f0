// FcgiConnection: a connection over which FastCGI 1.0 is spoken, with several requests at a time where the application
// multiplexes.
#pragma once

#include "pool/runtimes/upstream/fcgi_record.h"
#include "pool/runtimes/upstream/upstream_connection.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

class FcgiConnection final : public UpstreamConnection {
 public:
  FcgiConnection(Host& host, const UpstreamAddress& address) : UpstreamConnection(host, address) {}
  void ask_capacity() override;  // FCGI_GET_VALUES
  void begin(UpstreamRequest& request) override;
  void send_body(UpstreamRequest& request, std::string_view bytes, bool last) override;
  void abort(UpstreamRequest& request) override;

 private:
  void understand() override;
  [[nodiscard]] bool take(const FcgiPiece& piece);
  [[nodiscard]] bool take_end(const FcgiPiece& piece, UpstreamRequest* request);
  static void hear_errors(UpstreamRequest& request, std::string_view text);
  [[nodiscard]] bool take_management(const FcgiPiece& piece);

  FcgiReader reader_;
  uint16_t last_id_ = 0;
  std::string control_;  // content of an END_REQUEST or GET_VALUES_RESULT
  bool asked_ = false;
};

}  // namespace penstock
