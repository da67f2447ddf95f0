// Frames in, and the session's own life. Frames out: session_send.cc.
//
// Invariants:
//  - nghttp2's user data of a stream is its H2Stream while that has wire_open, else nullptr: what it calls back for is
//    looked up by number each time.
//  - A stream in the session's list has session == this; leave_streams() empties the list.
//  - After terminate() no call changes a stream; only GOAWAY is left to be produced. After give_up() nothing is.

#include "src/http/h2/session.h"

#include "src/http/h2/callbacks.h"

#include <charconv>
#include <nghttp2/nghttp2.h>
#include <utility>

namespace penstock {
namespace {

constexpr int64_t REQUEST_EARNS = 4;  // control frames that come with a request: its priority, its windows
constexpr int64_t BODY_EARNS = 1;

// RFC 9113 section 7: what the peer is told of a connection that ends for `reason`.
uint32_t code_of(Reason reason) {
  switch (reason) {
    case Reason::NONE:
      return NGHTTP2_NO_ERROR;
    case Reason::H2_CONTROL_FLOOD:
    case Reason::H2_RESET_FLOOD:
    case Reason::H2_HEADER_FLOOD:
    case Reason::H2_ANSWERS_UNREAD:
      return NGHTTP2_ENHANCE_YOUR_CALM;
    default:
      return NGHTTP2_PROTOCOL_ERROR;
  }
}

// Of nghttp2_session_mem_recv().
Reason reason_of_failure(ssize_t error) {
  switch (error) {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
      return Reason::H2_PREFACE_INVALID;
    case NGHTTP2_ERR_FLOODED:
      return Reason::H2_ANSWERS_UNREAD;
    default:  // CONTINUATION frames without end are the one thing that is left
      return Reason::H2_HEADER_FLOOD;
  }
}

}  // namespace

// ---- what sessions share

void H2Shared::mark_ready(H2Stream& stream) {
  if (stream.ready) return;
  stream.ready = true;
  stream.next_ready = nullptr;
  if (last_ready == nullptr) {
    first_ready = &stream;
  } else {
    last_ready->next_ready = &stream;
  }
  last_ready = &stream;
}

H2Stream* H2Shared::take_ready() {
  H2Stream* stream = first_ready;
  if (stream == nullptr) return nullptr;
  first_ready = stream->next_ready;
  if (first_ready == nullptr) last_ready = nullptr;
  stream->ready = false;
  return stream;
}

H2Stream* H2Shared::take_held() {
  while (!held.empty() && held.front().until <= now) {
    const Handle handle = held.front().stream;
    held.pop_front();
    H2Stream* stream = streams.find(handle);
    if (stream == nullptr) continue;
    stream->held_listed = stream->held && stream->held_until > now;
    if (stream->held_listed) {
      held.push_back({handle, stream->held_until});
    } else if (stream->held && stream->session != nullptr) {
      return stream;
    }
  }
  return nullptr;
}

void H2Shared::give_block(H2Block& block) {
  H2Stream* stream = streams.find(block.stream);
  if (stream != nullptr && stream->session != nullptr) stream->session->consumed(stream->id, block.credit);
  blocks.give(&block);
}

void H2Shared::give_if_done(H2Stream& stream) {
  if (stream.upper_open || stream.wire_open || stream.ready || stream.frames_lent > 0 || stream.ended) return;
  if (stream.session != nullptr) stream.session->forget(stream);
  while (H2Block* block = stream.first_block) {
    stream.first_block = block->next;
    blocks.give(block);
  }
  if (stream.pieces.capacity() > 0 && stream.pieces.capacity() <= H2Stream::PIECES_KEPT) {
    stream.pieces.clear();
    spare_pieces.push_back(std::move(stream.pieces));
  }
  streams.give(&stream);
}

// ---- the session's life

H2Session::H2Session(H2Shared& shared, const PeerAddress& peer, uint32_t listener)
    : shared_(shared),
      peer_(peer),
      listener_(listener),
      control_(shared.options.control_frames, shared.now),
      resets_(shared.options.resets, shared.now) {}

std::unique_ptr<H2Session> H2Session::create(H2Shared& shared, const PeerAddress& peer, uint32_t listener) {
  std::unique_ptr<H2Session> session(new H2Session(shared, peer, listener));  // NOLINT: the constructor is private
  session->wire_ = H2Callbacks::make_wire(*session);
  if (session->wire_ == nullptr || !session->submit_settings()) return nullptr;
  return session;
}

H2Session::~H2Session() {
  leave_streams(ECONNRESET);
  nghttp2_session_del(wire_);
  while (!heads_under_way_.empty()) shared_.answers.give_back(take_head().head);
  if (head_ != nullptr) shared_.spare_heads.push_back(std::move(head_));
}

bool H2Session::submit_settings() {
  const Http2Options& options = shared_.options;
  const nghttp2_settings_entry entries[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 2 * options.head_bytes},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  return nghttp2_submit_settings(wire_, NGHTTP2_FLAG_NONE, entries, std::size(entries)) == 0 &&
         nghttp2_session_set_local_window_size(wire_, NGHTTP2_FLAG_NONE, 0,
                                               static_cast<int32_t>(options.connection_window_bytes)) == 0;
}

void H2Session::note(Reason reason) {
  if (reason != Reason::NONE) shared_.notes.push_back({peer_, listener_, reason});
}

void H2Session::need(int result) {
  if (result == NGHTTP2_ERR_NOMEM) give_up();
}

void H2Session::give_up() {
  if (!noted_end_) note(Reason::H2_INTERNAL);
  broken_ = true;
  lose(ENOMEM);
}

bool H2Session::spend_control() {
  if (control_.spend(shared_.options.control_frames, shared_.now)) return true;
  terminate(Reason::H2_CONTROL_FLOOD);
  return false;
}

void H2Session::spend_reset() {
  if (!resets_.spend(shared_.options.resets, shared_.now)) terminate(Reason::H2_RESET_FLOOD);
}

size_t H2Session::receive(std::string_view bytes, uint64_t turn) {
  paused_ = false;
  if (dying_) return bytes.size();
  if (turn_ != turn) {
    turn_ = turn;
    requests_of_turn_ = 0;
  }
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  const auto used = nghttp2_session_mem_recv(wire_, data, bytes.size());
  if (!dying_ && used >= 0) return static_cast<size_t>(used);
  paused_ = false;
  if (used == NGHTTP2_ERR_NOMEM) {
    give_up();
  } else if (!dying_) {
    terminate(reason_of_failure(used));
  }
  return bytes.size();
}

bool H2Session::wants_write() const { return !broken_ && nghttp2_session_want_write(wire_) != 0; }

bool H2Session::finished() const {
  return broken_ || (nghttp2_session_want_read(wire_) == 0 && nghttp2_session_want_write(wire_) == 0);
}

size_t H2Session::queued_frames() const { return nghttp2_session_get_outbound_queue_size(wire_); }

void H2Session::shutdown_notice() {
  if (dying_ || draining_) return;
  draining_ = true;
  need(nghttp2_submit_shutdown_notice(wire_));
}

void H2Session::refuse_new() {
  if (dying_) return;
  draining_ = true;
  need(nghttp2_submit_goaway(wire_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(wire_), NGHTTP2_NO_ERROR,
                             nullptr, 0));
}

void H2Session::terminate(Reason reason) {
  if (dying_) return;
  dying_ = noted_end_ = true;
  note(reason);
  flooded_ = code_of(reason) == NGHTTP2_ENHANCE_YOUR_CALM;
  need(nghttp2_session_terminate_session(wire_, code_of(reason)));
  leave_streams(ECONNRESET);
}

void H2Session::lose(int error) {
  dying_ = noted_end_ = true;
  leave_streams(error);
}

void H2Session::peer_closed() {
  for (H2Stream* stream = first_stream_; stream != nullptr; stream = stream->next) {
    stream->peer_closed = true;
    shared_.mark_ready(*stream);
  }
}

// Every stream is on its own from here on.
void H2Session::leave_streams(int error) {
  (void)error;  // each of them means the same to a stream: its peer is gone
  while (H2Stream* stream = first_stream_) {
    if (stream->wire_open) {
      (void)nghttp2_session_set_stream_user_data(wire_, stream->id, nullptr);
      stream->wire_open = false;
      fail(*stream);
    }
    forget(*stream);
    stream->session = nullptr;
    shared_.mark_ready(*stream);  // it is given back there, where nobody walks a list
  }
}

void H2Session::forget(H2Stream& stream) {
  if (stream.previous != nullptr) {
    stream.previous->next = stream.next;
  } else {
    first_stream_ = stream.next;
  }
  if (stream.next != nullptr) stream.next->previous = stream.previous;
  stream.previous = stream.next = nullptr;
  --stream_count_;
  set_held(stream, false);
}

H2Stream* H2Session::stream_of(int32_t stream_id) const {
  return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(wire_, stream_id));
}

// The stream is over for its upper side, which has yet to close it.
void H2Session::fail(H2Stream& stream) {
  drop_pieces(stream);
  stream.heads_queued = 0;
  if (stream.upper_open) stream.failed = true;
  shared_.mark_ready(stream);
}

void H2Session::refuse(int32_t stream_id, uint32_t code, Reason reason) {
  note(reason);
  if (H2Stream* stream = stream_of(stream_id); stream != nullptr) stream->reset = true;
  resets_under_way_.push_back(stream_id);
  need(nghttp2_submit_rst_stream(wire_, NGHTTP2_FLAG_NONE, stream_id, code));
  if (code == NGHTTP2_PROTOCOL_ERROR) spend_reset();
  if (reason == Reason::H2_STREAMS_LIMIT) (void)spend_control();
}

// ---- frames in

void H2Session::frame_begun(uint8_t type, size_t length, uint8_t flags, int32_t stream_id) {
  if (dying_) return;
  if (type == NGHTTP2_PRIORITY && stream_id == 0) return terminate(Reason::H2_PROTOCOL);  // RFC 9113 section 6.3
  switch (type) {
    case NGHTTP2_DATA:
      data_may_earn_ = length > 0;
      if (length == 0 && (flags & NGHTTP2_FLAG_END_STREAM) == 0) (void)spend_control();
      return;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
      return;
    case NGHTTP2_RST_STREAM:
      spend_reset();
      return;
    default:
      (void)spend_control();
  }
}

// RFC 9218 section 7.1.
void H2Session::priority_updated(int32_t stream_id) {
  if (stream_id == 0) terminate(Reason::H2_PROTOCOL);
}

void H2Session::headers_begun(bool is_request) {
  if (dying_) return;
  if (head_ == nullptr) {
    if (shared_.spare_heads.empty()) shared_.spare_heads.push_back(std::make_unique<H2RequestHead>());
    head_ = std::move(shared_.spare_heads.back());
    shared_.spare_heads.pop_back();
  }
  head_->begin(is_request ? H2RequestHead::Section::HEAD : H2RequestHead::Section::TRAILERS,
               shared_.options.head_bytes);
}

bool H2Session::header(std::string_view name, std::string_view value) {
  if (dying_ || head_ == nullptr) return true;
  head_->field(name, value);
  // Beyond what the parser above can say 431 to, compression must not make us work without end.
  if (head_->list_bytes() > 4 * uint64_t{shared_.options.head_bytes} + 65'536) terminate(Reason::H2_HEADER_FLOOD);
  paused_ = requests_of_turn_ >= REQUESTS_PER_TURN;
  return !paused_;
}

void H2Session::headers_done(int32_t stream_id, bool is_request, bool end_stream) {
  if (dying_ || head_ == nullptr) return;
  const Reason offence = head_->finish(end_stream);
  if (is_request) {
    ++requests_of_turn_;
    if (offence == Reason::NONE) {
      open_stream(stream_id, end_stream);
    } else {
      refuse(stream_id, NGHTTP2_PROTOCOL_ERROR, offence);
    }
  } else if (H2Stream* stream = stream_of(stream_id); stream != nullptr) {
    const Reason reason = offence == Reason::NONE && !end_stream ? Reason::H2_TRAILER_INVALID : offence;
    if (reason != Reason::NONE) {
      refuse(stream_id, NGHTTP2_PROTOCOL_ERROR, reason);
      fail(*stream);
    } else {
      stream->trailers = head_->text();
      request_done(*stream);
    }
  }
  if (head_ != nullptr) shared_.spare_heads.push_back(std::move(head_));
}

void H2Session::open_stream(int32_t stream_id, bool end_stream) {
  // Streams that are reset count as long as the upper side has not closed them.
  if (stream_count_ >= 2 * shared_.options.streams) {
    return refuse(stream_id, NGHTTP2_REFUSED_STREAM, Reason::H2_STREAMS_LIMIT);
  }
  H2Stream* stream = shared_.streams.take(this, stream_id);
  if (stream == nullptr) return refuse(stream_id, NGHTTP2_REFUSED_STREAM, Reason::H2_BUSY);
  control_.earn(shared_.options.control_frames, REQUEST_EARNS);
  stream->next = first_stream_;
  if (first_stream_ != nullptr) first_stream_->previous = stream;
  first_stream_ = stream;
  ++stream_count_;
  (void)nghttp2_session_set_stream_user_data(wire_, stream_id, stream);
  if (!shared_.spare_pieces.empty()) {
    stream->pieces = std::move(shared_.spare_pieces.back());
    shared_.spare_pieces.pop_back();
  }
  stream->reader.begin(head_->is_head_method());
  stream->chunked = head_->chunked();
  stream->has_length = head_->content_length().has_value();
  stream->body_expected = head_->content_length().value_or(0);
  stream->request_done = end_stream;
  if (!append(*stream, head_->text(), false)) return;
  if (const auto priority = head_->priority()) {
    const nghttp2_extpri wanted{priority->urgency, priority->incremental ? 1 : 0};
    need(nghttp2_session_change_extpri_stream_priority(wire_, stream_id, &wanted, 0));
  }
  shared_.mark_ready(*stream);
}

void H2Session::data(int32_t stream_id, std::string_view bytes) {
  if (dying_) return;
  H2Stream* stream = stream_of(stream_id);
  if (stream == nullptr || !stream->upper_open || stream->failed) {
    consumed(stream_id, static_cast<uint32_t>(bytes.size()));  // nobody wants it
    return;
  }
  stream->body_received += bytes.size();
  if (stream->has_length && stream->body_received > stream->body_expected) {
    consumed(stream_id, static_cast<uint32_t>(bytes.size()));
    refuse(stream_id, NGHTTP2_PROTOCOL_ERROR, Reason::H2_LENGTH_DIFFERS);
    fail(*stream);
    return;
  }
  if (std::exchange(data_may_earn_, false)) control_.earn(shared_.options.control_frames, BODY_EARNS);
  if (!stream->chunked) {
    (void)append(*stream, bytes, true);
    return;
  }
  char size[20];
  char* end = std::to_chars(size, size + 16, bytes.size(), 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  (void)(append(*stream, {size, static_cast<size_t>(end - size)}, false) && append(*stream, bytes, true) &&
         append(*stream, "\r\n", false));
}

// The end of a DATA frame with `length` bytes, so many of them padding.
void H2Session::data_done(int32_t stream_id, size_t length, size_t padding, bool end_stream) {
  if (dying_) return;
  if (!end_stream) {
    if (length > 0 && padding == length) (void)spend_control();
  } else if (H2Stream* stream = stream_of(stream_id); stream != nullptr) {
    request_done(*stream);
  }
}

// END_STREAM of a request with a body.
void H2Session::request_done(H2Stream& stream) {
  if (stream.request_done || stream.failed) return;
  stream.request_done = true;
  if (stream.has_length && stream.body_received != stream.body_expected) {
    refuse(stream.id, NGHTTP2_PROTOCOL_ERROR, Reason::H2_LENGTH_DIFFERS);
    fail(stream);
    return;
  }
  if (!stream.chunked || !stream.upper_open) return;
  (void)(append(stream, "0\r\n", false) && append(stream, stream.trailers, false) && append(stream, "\r\n", false));
  stream.trailers.clear();
}

// `is_body`: these bytes take from the peer's window until they are consumed.
bool H2Session::append(H2Stream& stream, std::string_view bytes, bool is_body) {
  while (!bytes.empty()) {
    H2Block* block = stream.last_block;
    if (block == nullptr || block->size == H2Block::BYTES_MAX) {
      block = shared_.blocks.take();
      if (block == nullptr) {
        if (is_body) consumed(stream.id, static_cast<uint32_t>(bytes.size()));
        refuse(stream.id, NGHTTP2_INTERNAL_ERROR, Reason::H2_BUSY);
        fail(stream);
        return false;
      }
      block->stream = shared_.streams.handle_of(&stream);
      (stream.last_block != nullptr ? stream.last_block->next : stream.first_block) = block;
      stream.last_block = block;
    }
    const auto taken = static_cast<uint32_t>(std::min<size_t>(bytes.size(), H2Block::BYTES_MAX - block->size));
    std::memcpy(block->bytes + block->size, bytes.data(), taken);
    block->size += taken;
    if (is_body) block->credit += taken;
    bytes.remove_prefix(taken);
  }
  shared_.mark_ready(stream);
  return true;
}

void H2Session::consumed(int32_t stream_id, uint32_t bytes) {
  if (bytes > 0 && !dying_) need(nghttp2_session_consume(wire_, stream_id, bytes));
}

// GOAWAY of the peer's, which may say it as often as it likes: what runs goes on.
void H2Session::peer_left(uint32_t code) {
  if (dying_ || noted_peer_ || code == NGHTTP2_NO_ERROR) return;
  noted_peer_ = true;
  note(Reason::H2_PEER_ERROR);
}

// The stream is closed on the wire: both sides ended it, or one reset it.
void H2Session::stream_over(int32_t stream_id) {
  H2Stream* stream = stream_of(stream_id);
  if (stream == nullptr) return;
  stream->wire_open = false;
  if (!stream->answer_done || !stream->request_done) fail(*stream);
  shared_.mark_ready(*stream);
}

}  // namespace penstock
