// ResponseHeadWriter: a response head into a buffer of the caller's. Pure; no allocation.
//
// Every head has the same beginning, so that a stored one can be given a fresh date in place:
//
//   HTTP/1.1 200 OK\r\n
//   Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n        ← HTTP_DATE_BYTES at date_offset(status)
//   Server: penstock\r\n                            ← unless ServerHeaderMode::NONE
//   ... fields in the order added ...
//   \r\n
//
// Status, Date and Server are the writer's; framing (Content-Length, Connection) is the caller's.
#pragma once

#include "src/http/date.h"
#include "src/http/status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

// What the Server field says of us (server.header).
enum class ServerHeaderMode : uint8_t { FULL, PRODUCT, NONE };

// "penstock/0.1.0", "penstock", "".
[[nodiscard]] std::string_view server_header_value(ServerHeaderMode mode);

// "HTTP/1.1 404 Not Found\r\nDate: " has this length; so here the date begins. A status that is not
// registered is written with an empty phrase ("HTTP/1.1 299 \r\n").
[[nodiscard]] size_t date_offset(uint16_t status);

class ResponseHeadWriter {
 public:
  // Writes the status line, Date (`unix_seconds`) and Server. REQUIRES: 100 <= status <= 999.
  ResponseHeadWriter(std::span<char> out, uint16_t status, int64_t unix_seconds, ServerHeaderMode server);

  // Adds a field. A name that is not a token or a value with CR, LF, NUL or another control
  // character but HTAB spoils the head instead (response splitting): finish() then gives nothing.
  void field(std::string_view name, std::string_view value);
  void field(std::string_view name, uint64_t value);
  void field_date(std::string_view name, int64_t unix_seconds);

  // Bytes that are well-formed field lines already, each ended by CRLF: checked by whoever made them.
  void raw(std::string_view lines);

  // Ends the head with the empty line; the whole of it, or nothing if it did not fit or was spoilt.
  [[nodiscard]] std::string_view finish();

 private:
  char* claim(size_t size);

  std::span<char> out_;
  size_t size_ = 0;
  bool ok_ = true;
};

// The interim answer to Expect: 100-continue.
inline constexpr std::string_view CONTINUE_RESPONSE = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace penstock
