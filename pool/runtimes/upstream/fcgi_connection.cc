#include "pool/runtimes/upstream/fcgi_connection.h"

#include "src/base/assert.h"

#include <charconv>
#include <utility>

namespace penstock {
namespace {

constexpr uint16_t IDS = 4'096;  // four times what a worker is ever asked at a time

size_t capacity_of(const FcgiPairs& pairs) {
  size_t most = 0;
  bool multiplexes = false;
  for (const auto& [name, value] : pairs) {
    if (name == "FCGI_MPXS_CONNS") multiplexes = value == "1";
    if (name == "FCGI_MAX_REQS") (void)std::from_chars(value.data(), value.data() + value.size(), most);
  }
  return multiplexes ? most : 1;
}

}  // namespace

// --- to the application -----------------------------------------------------------------------

void FcgiConnection::ask_capacity() {
  std::string text;
  put_fcgi_pair(text, "FCGI_MPXS_CONNS", "");
  put_fcgi_pair(text, "FCGI_MAX_REQS", "");
  put_fcgi_record(output(), FcgiType::GET_VALUES, 0, text);
  asked_ = true;
  send_soon();
}

void FcgiConnection::begin(UpstreamRequest& request) {
  // Small numbers (section 3.3), but each only after all others: what an application says once more of a request that
  // it has ended is then of nobody, and not the answer to the next one.
  ASSERT(requests().size() < IDS);
  do last_id_ = static_cast<uint16_t>(last_id_ % IDS + 1);
  while (requests().contains(last_id_));
  const uint16_t id = last_id_;
  enter(id, request);
  put_fcgi_begin(output(), id, true);
  put_fcgi_params(output(), id, request.variables);
  if (!request.body_follows) {
    put_fcgi_record(output(), FcgiType::STDIN, id, {});
    request.body_sent = true;
  }
  send_soon();
}

void FcgiConnection::send_body(UpstreamRequest& request, std::string_view bytes, bool last) {
  if (!bytes.empty()) put_fcgi_record(output(), FcgiType::STDIN, request.id, bytes);
  if (last) put_fcgi_record(output(), FcgiType::STDIN, request.id, {});
  request.body_sent = last;
  if (!last) hold_back(request);
  send_soon();
}

void FcgiConnection::abort(UpstreamRequest& request) {
  put_fcgi_record(output(), FcgiType::ABORT_REQUEST, request.id, {});
  send_soon();
}

// --- from the application ---------------------------------------------------------------------

void FcgiConnection::understand() {
  while (goes_on()) {
    size_t consumed = 0;
    FcgiPiece piece;
    const FcgiReader::State state = reader_.next(input(), consumed, piece);
    took(consumed);
    if (state == FcgiReader::State::BAD) lose("speaks another version of FastCGI, or something else");
    if (state == FcgiReader::State::PIECE && !take(piece)) break;
  }
}

// To our stderr by lines, and the first of it to the request's own log record.
void FcgiConnection::hear_errors(UpstreamRequest& request, std::string_view text) {
  constexpr size_t LOGGED_MAX = 1'024;
  request.lines.feed(text);
  const std::string_view first = text.substr(0, LOGGED_MAX - request.logged_bytes);
  if (first.empty() || !request.answer.open()) return;
  request.logged_bytes += first.size();
  penstock_log(request.answer.exchange(), {first.data(), first.size()});
}

bool FcgiConnection::take(const FcgiPiece& piece) {
  hear();
  if (piece.id == 0) return take_management(piece);
  const auto found = requests().find(piece.id);
  if (found == requests().end()) return refuse("answered a request that it was not asked");
  UpstreamRequest* const request = found->second;
  if (request != nullptr) request->heard = true;
  switch (piece.type) {
    case FcgiType::STDOUT:
      if (request != nullptr && !piece.content.empty()) feed(*request, piece.content);
      return !lost();
    case FcgiType::STDERR:
      if (request != nullptr) hear_errors(*request, piece.content);
      return true;
    case FcgiType::END_REQUEST:
      return take_end(piece, request);
    default:
      return refuse("sent a record that no application may send");
  }
}

// Eight bytes of content (section 5.5), which may come one by one, but not among those of another record.
bool FcgiConnection::take_end(const FcgiPiece& piece, UpstreamRequest* request) {
  if (piece.record_bytes != 8) return refuse("ended a request with a record of a wrong size");
  control_ += piece.content;
  if (!piece.last) return true;
  const std::string body = std::exchange(control_, {});
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(body[i])); };
  const uint32_t status = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
  if (byte(4) > 3) return refuse("ended a request in an unknown way");
  leave(piece.id);
  if (request != nullptr) host().ended(*this, *request, static_cast<End>(byte(4)), status);
  return !lost();
}

bool FcgiConnection::take_management(const FcgiPiece& piece) {
  const bool expected = piece.type == FcgiType::GET_VALUES_RESULT || piece.type == FcgiType::UNKNOWN_TYPE;
  if (!asked_ || !expected) return refuse("sent a management record that it was not asked for");
  control_ += piece.content;
  if (!piece.last) return true;
  const std::string body = std::exchange(control_, {});
  asked_ = false;
  const auto pairs = piece.type == FcgiType::GET_VALUES_RESULT ? parse_fcgi_pairs(body) : FcgiPairs{};
  if (!pairs) return refuse("sent malformed values");
  host().capacity(*this, capacity_of(*pairs));
  return !lost();
}

}  // namespace penstock
