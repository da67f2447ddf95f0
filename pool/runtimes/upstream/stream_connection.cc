// Invariant: reader_ is the answer of the one request in requests().
#include "pool/runtimes/upstream/stream_connection.h"

#include "src/base/assert.h"

#include <charconv>
#include <string>

namespace penstock {
namespace {

constexpr uint16_t NUMBER = 1;  // of the one request

}  // namespace

void StreamConnection::begin(UpstreamRequest& request) {
  ASSERT(requests().empty() && !aborted_);
  enter(NUMBER, request);
  reader_ = ResponseReader(grammar_, request.answers_head);
  output().append(request.opening);
  request.body_sent = !request.body_follows;
  send_soon();
}

void StreamConnection::send_body(UpstreamRequest& request, std::string_view bytes, bool last) {
  if (aborted_) return;
  if (request.chunks_body && !bytes.empty()) {
    char size[20];
    const auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
    output().append(size, end).append("\r\n").append(bytes).append("\r\n");
  } else {
    output().append(bytes);
  }
  if (last && request.chunks_body) output().append("0\r\n\r\n");
  request.body_sent = last;
  if (!last) hold_back(request);
  send_soon();
}

void StreamConnection::abort(UpstreamRequest&) {
  aborted_ = true;
  send_no_more();
}

void StreamConnection::understand() {
  while (!lost() && !stalled()) {
    if (requests().empty()) {
      if (!input().empty()) lose("sent more than its answer");
      return;
    }
    if (reader_.ended()) {
      end_exchange();
      continue;
    }
    if (input().empty()) return;
    UpstreamRequest* const request = requests().begin()->second;
    hear();
    if (request != nullptr) request->heard = true;
    size_t consumed = 0;
    std::string_view piece;
    const ResponseReader::State state = reader_.next(input(), consumed, piece);
    took(consumed);
    if (state == ResponseReader::State::BAD) return lose(std::string(reader_.error()));
    if (state == ResponseReader::State::NEED_MORE || request == nullptr || piece.empty()) continue;
    feed(*request, piece);
    // Its head was refused: where its body ends is nothing to rely on.
    if (!request->answer.open() && !request->answer.begun() && !aborted_) return lose("sent a bad head");
  }
}

// What has come behind the answer is nobody's, and must not become the next one's.
void StreamConnection::end_exchange() {
  if (!reader_.keeps_connection() || !input().empty()) retire();
  UpstreamRequest* const request = requests().begin()->second;
  leave(NUMBER);
  if (request != nullptr) host().ended(*this, *request, End::COMPLETE, 0);
}

void StreamConnection::closed() {
  if (requests().empty()) return lose("closed its connection");
  if (!reader_.ended() && !reader_.close()) return lose(std::string(reader_.error()));
  retire();
  end_exchange();
}

}  // namespace penstock
