#include "src/server/pools/request_writer.h"

#include "pool/ring/request_block.h"
#include "src/base/bytes.h"
#include "src/server/client_address.h"
#include "src/server/connection.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>

namespace penstock {
namespace {

using AddressText = std::array<char, INET6_ADDRSTRLEN>;

std::string_view text_of(const JournalAddress& address, AddressText& room) {
  const bool v4 = address.family == JournalAddress::IPV4;
  if (!v4 && address.family != JournalAddress::IPV6) return "";
  if (v4) {  // inet_ntop() takes its time
    char* at = room.data();
    for (size_t i = 12; i < 16; ++i) {
      if (i > 12) *at++ = '.';
      at = std::to_chars(at, room.data() + room.size(), address.ip[i]).ptr;
    }
    return {room.data(), static_cast<size_t>(at - room.data())};
  }
  const void* const bytes = v4 ? address.ip.data() + 12 : address.ip.data();
  const char* const text =
      ::inet_ntop(v4 ? AF_INET : AF_INET6, bytes, room.data(), static_cast<socklen_t>(room.size()));
  return text != nullptr ? text : "";
}

}  // namespace

uint32_t write_request(std::span<char> room, const Exchange& ex, const ClientIdentity& identity,
                       bool pass_authorization) {
  const RequestHead& head = ex.head;
  const ConnectionFacts& facts = ex.connection->facts;
  const JournalAddress& client = client_of(ex);
  AddressText remote;
  AddressText server;
  RequestBlock parts{.method = head.method_text,
                     .target = head.target,
                     .path = ex.path,
                     .query = head.query,
                     .authority = head.authority,
                     .route_prefix = ex.route->prefix,
                     .remote_address = text_of(client, remote),
                     .server_address = text_of(facts.server, server),
                     .site = ex.site->name,
                     .version_minor = head.version_minor,
                     .remote_port = client.port,
                     .server_port = facts.server.port,
                     .secure = ex.secure,
                     .has_query = head.has_query,
                     .client_subject = identity.subject,
                     .client_fingerprint = identity.fingerprint};
  if (ex.site->client_rules != 0 && ex.secure) {
    parts.client = ex.certified ? PENSTOCK_CLIENT_VERIFIED : PENSTOCK_CLIENT_NONE;
  }
  // A URL that stands in for another has no body, whatever that one had.
  const bool withholds = !pass_authorization && head.has(Field::AUTHORIZATION);
  const auto is_left_out = [&ex, withholds](const HeaderField& field) {
    if (withholds && iequals(field.name, "Authorization")) return true;
    constexpr std::string_view BODY_FIELDS[] = {"Content-Length", "Transfer-Encoding", "Content-Type", "Expect"};
    // What makes the answer one for this client alone, of a request whose answer is for all.
    constexpr std::string_view CONDITION_FIELDS[] = {
        "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"};
    const auto is_it = [&](std::string_view name) { return iequals(field.name, name); };
    return (ex.executed > 0 && std::ranges::any_of(BODY_FIELDS, is_it)) ||
           (ex.verdict == Verdict::REFRESHED && std::ranges::any_of(CONDITION_FIELDS, is_it));
  };
  const auto left_out = static_cast<size_t>(std::ranges::count_if(head.fields(), is_left_out));
  RequestBlockWriter writer(room, parts, head.field_count - left_out);
  for (const HeaderField& field : head.fields()) {
    if (!is_left_out(field)) writer.field(field.name, field.value);
  }
  return writer.finish();
}

uint32_t write_warm_up_request(std::span<char> room, const WarmUpRequest& request) {
  const size_t question = request.target.find('?');
  const bool has_query = question != std::string_view::npos;
  const RequestBlock parts{.method = "GET",
                           .target = request.target,
                           .path = request.path,
                           .query = has_query ? request.target.substr(question + 1) : std::string_view{},
                           .authority = request.host,
                           .route_prefix = request.route_prefix,
                           .remote_address = "127.0.0.1",
                           .server_address = "127.0.0.1",
                           .site = request.site,
                           .has_query = has_query};
  RequestBlockWriter writer(room, parts, 2);
  writer.field("Host", request.host);
  writer.field("User-Agent", "penstock warm-up");
  return writer.finish();
}

}  // namespace penstock
