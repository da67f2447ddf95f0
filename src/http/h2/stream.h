// H2Stream and H2Block: one HTTP/2 stream as the connection that it is above, and what it has received.
//
// Both lent by pools of one transport (H2Shared), one thread. A stream lives until the peer's side of it is over, the
// upper side has closed it, and no send below refers to memory that it was given.
#pragma once

#include "src/base/handle.h"
#include "src/base/time.h"
#include "src/http/h2/answer_reader.h"
#include "src/transport/transport.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

class H2Session;

// How the upper side ends a stream: transport.h. Before its answer is whole the peer sees it reset, with
// INTERNAL_ERROR, CANCEL or REFUSED_STREAM (RFC 9113 section 7).
enum class StreamEnd : uint8_t { CLOSE, RESET, REFUSE };

// A piece of a stream's canonical HTTP/1.1 request; what one RECEIVED event lends.
struct H2Block {
  static constexpr uint32_t BYTES_MAX = 4'032;
  // Marks our buffers among those of the layers below: TLS has bit 31, and no transport has so many.
  static constexpr uint32_t BUFFER = uint32_t{1} << 30;

  H2Block() {}    // NOLINT: taking one does not zero its bytes
  Handle stream;  // that it was lent for; perhaps gone by now
  H2Block* next = nullptr;
  uint32_t size = 0;
  uint32_t credit = 0;  // bytes of DATA in it: the peer may send so many more once it is consumed
  char bytes[BYTES_MAX];
};

struct H2Stream {
  H2Stream(H2Session* its_session, int32_t its_id) : session(its_session), id(its_id) {}
  H2Stream(const H2Stream&) = delete;
  H2Stream& operator=(const H2Stream&) = delete;

  H2Session* session;  // nullptr: the HTTP/2 connection is over
  H2Stream* next_ready = nullptr;
  H2Stream* previous = nullptr;  // of the same session
  H2Stream* next = nullptr;
  int32_t id;
  void* context = nullptr;

  // As a connection above (transport.h).
  bool upper_open = true;
  bool announced = false;  // ACCEPTED was delivered
  bool receiving = true;
  bool sending = false;  // a send is outstanding
  bool ended = false;    // closed while sending: CLOSED follows
  bool failed = false;   // FAILED follows, or was told
  bool failed_told = false;
  bool peer_closed = false;  // PEER_CLOSED follows, or was told
  bool peer_closed_told = false;
  bool ready = false;  // in the list of streams that may have an event
  uint64_t accepted_turn = 0;

  // As a stream of HTTP/2.
  bool wire_open = true;
  bool request_done = false;  // END_STREAM came
  bool head_sent = false;     // a final head was submitted
  bool answer_done = false;   // END_STREAM is in a frame
  bool reset = false;         // RST_STREAM is submitted
  bool deferred = false;      // nghttp2 waits for more data
  bool held = false;          // deferred until the peer opens its windows further: H2Session::hold()
  bool cut_short = false;     // by a tiny window: its next frame
  bool held_listed = false;   // in H2Shared::held
  bool held_enough = false;   // the next frame leaves, however small
  bool chunked = false;       // towards the parser above
  bool has_length = false;
  uint64_t body_expected = 0;
  uint64_t body_received = 0;
  uint32_t heads_queued = 0;  // HEADERS submitted, not yet in a frame
  uint32_t frames_lent = 0;   // in the batch that is under way

  H2Block* first_block = nullptr;  // not yet delivered
  H2Block* last_block = nullptr;

  std::string trailers;  // field lines, when they came

  H2AnswerReader reader;
  static constexpr size_t PIECES_KEPT = 8;  // for the next stream, where there was room for no more
  std::vector<SendPart> pieces;             // of the body, of the outstanding send
  size_t piece = 0;                         // the first that is not wholly in frames, and from where on
  uint64_t piece_offset = 0;
  uint64_t body_left = 0;  // of all pieces
  int32_t window_max = 0;  // the widest that the peer's window for it was
  MonoTime held_until;

  // For Transport::bytes_sent(): while the peer's window for this stream is open, what the connection sends counts as
  // progress of the stream, too: which stream goes first is our choice, not the peer's. While its window for the
  // connection is shut, only bodies count: the peer could have us answer its pings for ever.
  uint64_t sent_bytes = 0;
  uint64_t credited_bytes = 0;
  uint64_t connection_mark = 0;
  uint64_t data_mark = 0;

  // A window that is narrower is waited for to open, where more than fits it is to be sent (RFC 1122 section 4.2.3.4).
  // Half the widest at the most: a peer may open a window when half of it is used up.
  static constexpr int32_t WORTH_FILLING_MAX = 4'096;
  [[nodiscard]] int32_t window_worth_filling() const { return std::min(window_max / 2, WORTH_FILLING_MAX); }
  [[nodiscard]] bool all_framed() const { return body_left == 0 && heads_queued == 0; }
};

}  // namespace penstock
