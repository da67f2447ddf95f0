// Frames out, and what the upper side does to streams.

#include "src/http/h2/callbacks.h"
#include "src/http/h2/session.h"

#include <algorithm>
#include <nghttp2/nghttp2.h>
#include <utility>

namespace penstock {
namespace {

constexpr size_t FRAME_BYTES_MAX = 16'384;  // SETTINGS_MAX_FRAME_SIZE that every peer takes
// A frame earns the control frames that open the windows again, and so does every so much of it, for who opens them as
// it consumes. Tiny ones that the window, not the answer, made so are a game.
constexpr size_t EARNING_BYTES = 256;
constexpr int64_t FRAME_EARNS = 4;
constexpr size_t BYTES_PER_EARNED = 512;
constexpr Duration HOLD_MAX = milliseconds(200);

// What nghttp2 ended a stream or the connection for.
Reason reason_of(uint32_t code) {
  switch (code) {
    case NGHTTP2_NO_ERROR:
      return Reason::NONE;
    case NGHTTP2_FLOW_CONTROL_ERROR:
      return Reason::H2_FLOW_CONTROL;
    case NGHTTP2_FRAME_SIZE_ERROR:
      return Reason::H2_FRAME_SIZE;
    case NGHTTP2_COMPRESSION_ERROR:
      return Reason::H2_COMPRESSION;
    case NGHTTP2_STREAM_CLOSED:
      return Reason::H2_STREAM_CLOSED;
    case NGHTTP2_REFUSED_STREAM:
      return Reason::H2_STREAMS_LIMIT;
    case NGHTTP2_ENHANCE_YOUR_CALM:
      return Reason::H2_CONTROL_FLOOD;
    case NGHTTP2_INTERNAL_ERROR:
      return Reason::H2_INTERNAL;
    default:
      return Reason::H2_PROTOCOL;
  }
}

// With what a stream that has no whole answer is reset.
uint32_t reset_code(StreamEnd how) {
  switch (how) {
    case StreamEnd::RESET:
      return NGHTTP2_CANCEL;
    case StreamEnd::REFUSE:
      return NGHTTP2_REFUSED_STREAM;
    case StreamEnd::CLOSE:
      break;
  }
  return NGHTTP2_INTERNAL_ERROR;
}

}  // namespace

bool H2Session::produce(H2Batch& batch) {
  batch_ = &batch;
  while (!broken_ && batch.fits(0, 0)) {
    const uint8_t* data = nullptr;
    const auto size = nghttp2_session_mem_send(wire_, &data);
    if (size < 0) give_up();  // no memory
    const std::string_view frame{reinterpret_cast<const char*>(data), static_cast<size_t>(std::max<ssize_t>(size, 0))};
    batch.copy(head_written_.head != nullptr ? head_bytes(frame) : frame);
    if (size <= 0) break;
  }
  batch_ = nullptr;
  return !batch.empty();
}

void H2Session::batch_over(H2Shared& shared, H2Batch& batch, bool sent) {
  for (const H2Batch::Frame& frame : batch.frames) {
    H2Stream* stream = shared.streams.find(frame.stream);
    ASSERT(stream != nullptr && stream->frames_lent > 0);  // it waits for this
    --stream->frames_lent;
    if (sent) stream->sent_bytes += frame.payload;
    shared.mark_ready(*stream);
  }
  batch.frames.clear();
}

// ---- what nghttp2 asks for and tells

H2Session::Payload H2Session::next_payload(const H2Stream& stream, size_t bytes_max) const {
  Payload payload;
  bytes_max = std::min(bytes_max, FRAME_BYTES_MAX);
  uint64_t offset = stream.piece_offset;
  for (size_t i = stream.piece; i < stream.pieces.size() && payload.bytes < bytes_max; ++i, offset = 0) {
    const SendPart& piece = stream.pieces[i];
    const auto bytes = static_cast<size_t>(std::min<uint64_t>(piece.size - offset, bytes_max - payload.bytes));
    const bool by_reference = piece.fd >= 0 || bytes > H2Batch::COPY_MAX;
    if (by_reference && payload.bytes > 0) break;  // a frame of its own
    payload.bytes += bytes;
    payload.by_reference = by_reference;
    if (by_reference) break;
  }
  payload.is_last = payload.bytes == stream.body_left && stream.reader.is_whole();
  return payload;
}

// Whether what there is waits for wider windows. Frames as small as the last update of a window make a peer that opens
// its windows frame by frame open them for small frames for ever (the silly window syndrome). Not for long: a peer may
// open a window when all of it is used up.
bool H2Session::hold(H2Stream& stream, const Payload& payload, size_t window) {
  const bool is_cut = payload.bytes == window && stream.body_left > window;
  const bool was_held_enough = std::exchange(stream.held_enough, false);
  stream.cut_short = is_cut && window < EARNING_BYTES;
  int32_t of_stream = static_cast<int32_t>(window);  // or more, where the connection's is narrower
  if (is_cut && window < size_t{H2Stream::WORTH_FILLING_MAX}) {
    of_stream = nghttp2_session_get_stream_remote_window_size(wire_, stream.id);
  }
  stream.window_max = std::max(stream.window_max, of_stream);
  const bool is_small = is_cut && static_cast<int32_t>(window) < stream.window_worth_filling();
  if (is_small && was_held_enough) stream.window_max = static_cast<int32_t>(window);  // it may never be wider again
  set_held(stream, is_small && !was_held_enough);
  return stream.held;
}

void H2Session::set_held(H2Stream& stream, bool held) {
  if (stream.held == held) return;
  stream.held = held;
  if (!held) {
    --held_count_;
    return;
  }
  ++held_count_;
  stream.held_until = shared_.now + HOLD_MAX;
  if (stream.held_listed) return;
  stream.held_listed = true;
  shared_.held.push_back({shared_.streams.handle_of(&stream), stream.held_until});
}

void H2Session::send_held(H2Stream& stream) {
  stream.held_enough = true;
  resume(stream);
}

// By an update of the stream's window, or of all streams' (0).
void H2Session::windows_opened(int32_t stream_id) {
  if (dying_ || held_count_ == 0) return;
  if (stream_id == 0) {
    for (H2Stream* stream = first_stream_; stream != nullptr; stream = stream->next) window_opened(*stream);
  } else if (H2Stream* stream = stream_of(stream_id); stream != nullptr) {
    window_opened(*stream);
  }
}

void H2Session::window_opened(H2Stream& stream) {
  if (!stream.held || !stream.wire_open || stream.reset) return;
  const int32_t of_stream = nghttp2_session_get_stream_remote_window_size(wire_, stream.id);
  stream.window_max = std::max(stream.window_max, of_stream);
  const int32_t window = std::min(of_stream, nghttp2_session_get_remote_window_size(wire_));
  if (window >= stream.window_worth_filling() || window >= static_cast<int64_t>(stream.body_left)) resume(stream);
}

void H2Session::resume(H2Stream& stream) {
  stream.deferred = false;
  set_held(stream, false);
  need(nghttp2_session_resume_data(wire_, stream.id));
}

bool H2Session::put_data(H2Stream& stream, std::string_view frame_head, size_t bytes, bool is_last) {
  H2Batch& batch = *batch_;
  const bool by_reference = bytes > 0 && next_payload(stream, bytes).by_reference;
  if (!batch.fits(frame_head.size() + (by_reference ? 0 : bytes), by_reference ? 1 : 0)) return false;
  batch.copy(frame_head);
  for (size_t left = bytes; left > 0;) {
    const SendPart& piece = stream.pieces[stream.piece];
    const auto now = static_cast<size_t>(std::min<uint64_t>(left, piece.size - stream.piece_offset));
    const SendPart slice = piece.slice(stream.piece_offset, now);
    if (by_reference) {
      batch.refer(slice);
    } else {
      batch.copy({static_cast<const char*>(slice.data), now});
    }
    left -= now;
    stream.body_left -= now;
    stream.piece_offset += now;
    if (stream.piece_offset == piece.size) {
      stream.piece_offset = 0;
      ++stream.piece;
    }
  }
  batch.frames.push_back({shared_.streams.handle_of(&stream), static_cast<uint32_t>(bytes)});
  ++stream.frames_lent;
  data_framed_ += bytes;
  if (!stream.cut_short) {
    control_.earn(shared_.options.control_frames, FRAME_EARNS + static_cast<int64_t>(bytes / BYTES_PER_EARNED));
  }
  if (is_last) answer_framed(stream);
  return true;
}

// END_STREAM is in a frame. Who did not wait for the end of the request ends it here (RFC 9113 section 8.1).
void H2Session::answer_framed(H2Stream& stream) {
  stream.answer_done = true;
  if (!stream.upper_open && !stream.request_done) reset_stream(stream, NGHTTP2_NO_ERROR);
}

// A HEADERS frame is written, or will not be: they leave in the order in which they were submitted.
H2Session::HeadUnderWay H2Session::take_head() {
  ASSERT(!heads_under_way_.empty());
  const HeadUnderWay head = heads_under_way_.front();
  heads_under_way_.pop_front();
  if (!head.stood_in_for) --heads_to_compress_;
  return head;
}

// What is sent for nghttp2's `frame`, the last one of head_written_; empty: it was not made.
std::string_view H2Session::head_bytes(std::string_view frame) {
  const HeadUnderWay written = std::exchange(head_written_, {});
  if (!frame.empty()) {
    if (written.stood_in_for) {
      frame = memo_.replace(*written.head, frame);
    } else {
      memo_.learn(*written.head, frame);
    }
  }
  shared_.answers.give_back(written.head);
  return frame;
}

void H2Session::head_sent(int32_t stream_id, bool ends_stream) {
  head_written_ = take_head();
  H2Stream* stream = stream_of(stream_id);
  if (stream == nullptr || stream->heads_queued == 0) return;
  --stream->heads_queued;
  batch_->frames.push_back({shared_.streams.handle_of(stream), 0});
  ++stream->frames_lent;
  if (ends_stream) answer_framed(*stream);
}

// It is longer than nghttp2 writes, or the stream is closing; or what compresses is broken, for want of memory.
void H2Session::head_not_sent(int32_t stream_id, int error) {
  shared_.answers.give_back(take_head().head);
  if (error == NGHTTP2_ERR_HEADER_COMP) return give_up();
  H2Stream* stream = stream_of(stream_id);
  if (stream == nullptr || stream->reset) return;
  refuse(stream_id, NGHTTP2_INTERNAL_ERROR, Reason::H2_ANSWER_INVALID);
  fail(*stream);
}

void H2Session::reset_sent(int32_t stream_id, uint32_t code) {
  const auto own = std::ranges::find(resets_under_way_, stream_id);
  if (own != resets_under_way_.end()) {
    resets_under_way_.erase(own);
  } else if (!dying_) {
    note(reason_of(code));
    spend_for_reset(code);
  }
}

// nghttp2 reset a stream: where that is for what the peer sent, it is as if the peer had reset it. Refused are streams
// beyond the limit before our SETTINGS are acknowledged, which an honest peer may overshoot by not knowing it.
void H2Session::spend_for_reset(uint32_t code) {
  switch (code) {
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_COMPRESSION_ERROR:
      return spend_reset();
    case NGHTTP2_REFUSED_STREAM:
      (void)spend_control();
      return;
    default:
      return;
  }
}

void H2Session::goaway_sent(uint32_t code) {
  if (code == NGHTTP2_NO_ERROR || dying_) return;
  note(reason_of(code));
  lose(ECONNRESET);
}

// ---- what the upper side does

void H2Session::send(H2Stream& stream, std::span<const SendPart> parts) {
  stream.sending = true;
  if (!read_parts(stream, parts)) {
    if (broken_) return;
    refuse(stream.id, NGHTTP2_INTERNAL_ERROR, Reason::H2_ANSWER_INVALID);
    fail(stream);
    return;
  }
  if (stream.deferred && (stream.body_left > 0 || stream.reader.is_whole())) resume(stream);
  if (stream.all_framed()) shared_.mark_ready(stream);  // framing only, or behind the end: nothing of it is sent
}

bool H2Session::read_parts(H2Stream& stream, std::span<const SendPart> parts) {
  stream.pieces.clear();
  stream.piece = 0;
  stream.piece_offset = 0;
  for (const SendPart& part : parts) {
    for (uint64_t offset = 0; offset < part.size;) {
      const H2AnswerReader::Step step = stream.reader.next(part, offset, shared_.answers);
      if (step.kind == H2AnswerReader::Kind::BROKEN) return false;
      if (step.kind == H2AnswerReader::Kind::HEAD && !submit_head(stream)) return false;
      if (step.kind == H2AnswerReader::Kind::BODY) {
        stream.pieces.push_back(part.slice(offset, step.consumed));
        stream.body_left += step.consumed;
      }
      offset += step.consumed;
    }
  }
  return true;
}

bool H2Session::submit_head(H2Stream& stream) {
  const H2AnswerHead& head = shared_.answers.newest();
  std::span<const nghttp2_nv> fields = head.fields;
  const nghttp2_nv stand_in = H2HeadMemo::stand_in();
  const bool is_known = head.is_final && heads_to_compress_ == 0 && memo_.knows(head);
  if (is_known) fields = {&stand_in, 1};
  int failed = 0;
  if (!head.is_final) {
    failed =
        nghttp2_submit_headers(wire_, NGHTTP2_FLAG_NONE, stream.id, nullptr, fields.data(), fields.size(), nullptr);
  } else {
    stream.head_sent = true;
    const nghttp2_data_provider body{.source = {.fd = 0}, .read_callback = H2Callbacks::read_body};
    failed = nghttp2_submit_response(wire_, stream.id, fields.data(), fields.size(),
                                     stream.reader.is_whole() ? nullptr : &body);
  }
  need(failed);
  if (failed != 0) return false;
  head_submitted(stream, is_known);
  return true;
}

// The newest head is lent to nghttp2 until its frame is written.
void H2Session::head_submitted(H2Stream& stream, bool stood_in_for) {
  heads_under_way_.push_back({shared_.answers.lend(), stood_in_for});
  if (!stood_in_for) ++heads_to_compress_;
  ++stream.heads_queued;
}

// RFC 9113 section 8.1: HEADERS with END_STREAM, behind the last DATA, which nghttp2 is just asking for.
void H2Session::submit_trailers(H2Stream& stream) {
  H2AnswerHead& head = shared_.answers.renew();
  stream.reader.take_trailers(head);
  const int failed = nghttp2_submit_trailer(wire_, stream.id, head.fields.data(), head.fields.size());
  need(failed);
  if (failed == 0) head_submitted(stream, false);
}

void H2Session::drop_pieces(H2Stream& stream) {
  stream.pieces.clear();
  stream.piece = 0;
  stream.piece_offset = 0;
  stream.body_left = 0;
}

void H2Session::reset_stream(H2Stream& stream, uint32_t code) {
  if (stream.reset) return;
  stream.reset = true;
  resets_under_way_.push_back(stream.id);
  need(nghttp2_submit_rst_stream(wire_, NGHTTP2_FLAG_NONE, stream.id, code));
}

bool H2Session::close(H2Stream& stream, StreamEnd how) {
  const bool whole = stream.reader.end() && stream.body_left == 0;
  if (how == StreamEnd::CLOSE && whole) {
    if (stream.answer_done) {
      if (!stream.request_done) reset_stream(stream, NGHTTP2_NO_ERROR);
    } else if (stream.deferred) {  // where no length was told, this is the end
      resume(stream);
    }
    return stream.frames_lent > 0;
  }
  drop_pieces(stream);
  stream.heads_queued = 0;
  reset_stream(stream, reset_code(how));
  return stream.frames_lent > 0;
}

void H2Session::finish_sending(H2Stream& stream) {
  if (stream.reader.end() && stream.deferred) resume(stream);
}

bool H2Session::window_is_open(const H2Stream& stream) const {
  return nghttp2_session_get_stream_remote_window_size(wire_, stream.id) >
         (stream.held ? stream.window_worth_filling() - 1 : 0);
}

bool H2Session::connection_window_is_open() const { return nghttp2_session_get_remote_window_size(wire_) > 0; }

}  // namespace penstock
