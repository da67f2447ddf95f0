// H2Session: one HTTP/2 connection, sans-IO: bytes in by receive(), frames out by produce().
//
// The one place that calls nghttp2, which parses and writes frames, compresses fields and keeps windows and priorities
// (RFC 9218). Ours are the rules of HTTP over it (H2RequestHead), the limits on what a peer may waste, and the streams
// as connections. Owned by H2Transport, one thread. It never calls up: streams with something to tell are put into
// H2Shared's list, refusals into its notes.
//
// nghttp2's own checks of HTTP messages are off: ours are stricter and name their reason.
#pragma once

#include "src/base/fixed_pool.h"
#include "src/http/h2/batch.h"
#include "src/http/h2/budget.h"
#include "src/http/h2/head_memo.h"
#include "src/http/h2/request_head.h"
#include "src/http/h2/stream.h"
#include "src/transport/http2_options.h"

#include <deque>
#include <memory>
#include <nghttp2/nghttp2.h>
#include <span>
#include <string_view>
#include <vector>

namespace penstock {

// What the sessions of one transport share.
struct H2Shared {
  explicit H2Shared(uint32_t streams_max, uint32_t blocks_max, uint32_t batches_max)
      : streams(streams_max), blocks(blocks_max), batches(batches_max) {}

  Http2Options options;
  MonoTime now;
  nghttp2_mem* memory = nullptr;  // nghttp2's, where that is not malloc()'s
  FixedPool<H2Stream> streams;
  FixedPool<H2Block> blocks;
  FixedPool<H2Batch> batches;
  std::vector<std::unique_ptr<H2RequestHead>> spare_heads;
  H2AnswerHeads answers;
  std::vector<std::vector<SendPart>> spare_pieces;  // of streams that are gone; as many as there were at once

  // Streams that may have an event, in order.
  H2Stream* first_ready = nullptr;
  H2Stream* last_ready = nullptr;
  void mark_ready(H2Stream& stream);
  [[nodiscard]] H2Stream* take_ready();

  // Streams that hold back a small frame, or did, and until when they do: nearly in order.
  struct Held {
    Handle stream;
    MonoTime until;
  };
  std::deque<Held> held;
  // The next of them whose time has come, or nullptr.
  [[nodiscard]] H2Stream* take_held();

  struct Note {
    PeerAddress peer;
    uint32_t listener;
    Reason reason;
  };
  std::vector<Note> notes;

  // The block goes back; the peer of its stream may send as much again.
  void give_block(H2Block& block);
  // Gives the stream back once nobody needs it.
  void give_if_done(H2Stream& stream);
};

class H2Session {
 public:
  // nullptr: no memory.
  [[nodiscard]] static std::unique_ptr<H2Session> create(H2Shared& shared, const PeerAddress& peer, uint32_t listener);
  ~H2Session();
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  // Requests of one peer that one turn takes; what is behind them waits for the next, so that nobody's burst keeps all
  // others waiting.
  static constexpr uint32_t REQUESTS_PER_TURN = 32;
  // Returns how many of `bytes` were used up in this `turn`. Where is_paused() then, the rest, or nothing if none is
  // left, is to be given in another turn.
  [[nodiscard]] size_t receive(std::string_view bytes, uint64_t turn);
  [[nodiscard]] bool is_paused() const { return paused_; }
  // Fills `batch` with what may be sent now. False: nothing was added.
  bool produce(H2Batch& batch);
  [[nodiscard]] bool wants_write() const;
  // Nothing will be read or sent any more, once what produce() gave is sent; or nothing can be, for want of memory.
  [[nodiscard]] bool finished() const;
  // Frames that wait to be sent: a peer that makes us answer and does not read is not read either.
  [[nodiscard]] size_t queued_frames() const;
  [[nodiscard]] uint32_t open_streams() const { return stream_count_; }

  // No stream is left, and none will come.
  [[nodiscard]] bool is_dying() const { return dying_; }
  // It ended for a flood: nothing more of the peer is worth reading, and nothing is worth waiting for.
  [[nodiscard]] bool is_flooded() const { return flooded_; }
  // shutdown_notice() or refuse_new() was called.
  [[nodiscard]] bool is_draining() const { return draining_; }

  Handle carrier;  // the owner's: the connection below

  // GOAWAY without an end: streams under way, and those that cross it, are served (RFC 9113 section 6.8).
  void shutdown_notice();
  // The last GOAWAY: no new streams; those under way are served.
  void refuse_new();
  // GOAWAY with the code of `reason` (NONE: NO_ERROR); all streams are over.
  void terminate(Reason reason);
  // The connection below is gone: every stream fails.
  void lose(int error);
  // The peer sent FIN: what it has not said yet it never will.
  void peer_closed();

  // Of streams as connections.
  void send(H2Stream& stream, std::span<const SendPart> parts);
  // Returns true when frames that are under way refer to the stream's parts: CLOSED follows.
  bool close(H2Stream& stream, StreamEnd how);
  void finish_sending(H2Stream& stream);
  // It has held back its frame long enough.
  void send_held(H2Stream& stream);
  void consumed(int32_t stream_id, uint32_t bytes);
  [[nodiscard]] bool window_is_open(const H2Stream& stream) const;
  [[nodiscard]] bool connection_window_is_open() const;
  // Bytes of bodies in frames so far, of all streams.
  [[nodiscard]] uint64_t data_framed() const { return data_framed_; }
  void forget(H2Stream& stream);

  // A batch is over: its frames' streams are told.
  static void batch_over(H2Shared& shared, H2Batch& batch, bool sent);

 private:
  friend struct H2Callbacks;
  H2Session(H2Shared& shared, const PeerAddress& peer, uint32_t listener);
  [[nodiscard]] bool submit_settings();

  void note(Reason reason);
  // Of a call that can fail for want of memory alone: the connection is over then, without a word.
  void need(int result);
  void give_up();
  [[nodiscard]] bool spend_control();
  void spend_reset();

  // Frames in.
  void frame_begun(uint8_t type, size_t length, uint8_t flags, int32_t stream_id);
  void priority_updated(int32_t stream_id);
  void headers_begun(bool is_request);
  // False: nothing more in this turn.
  [[nodiscard]] bool header(std::string_view name, std::string_view value);
  void headers_done(int32_t stream_id, bool is_request, bool end_stream);
  void open_stream(int32_t stream_id, bool end_stream);
  void data(int32_t stream_id, std::string_view bytes);
  void data_done(int32_t stream_id, size_t length, size_t padding, bool end_stream);
  void request_done(H2Stream& stream);
  void stream_over(int32_t stream_id);
  void peer_left(uint32_t code);
  void refuse(int32_t stream_id, uint32_t code, Reason reason);
  [[nodiscard]] bool append(H2Stream& stream, std::string_view bytes, bool is_body);
  void fail(H2Stream& stream);

  // Frames out.
  // A head that is lent to nghttp2.
  struct HeadUnderWay {
    H2AnswerHead* head = nullptr;
    bool stood_in_for = false;  // nghttp2 has the memo's stand-in
  };
  [[nodiscard]] bool read_parts(H2Stream& stream, std::span<const SendPart> parts);
  [[nodiscard]] bool submit_head(H2Stream& stream);
  void submit_trailers(H2Stream& stream);
  void head_submitted(H2Stream& stream, bool stood_in_for);
  // What of the stream's pieces the next frame takes.
  struct Payload {
    size_t bytes = 0;
    bool is_last = false;
    bool by_reference = false;
  };
  [[nodiscard]] Payload next_payload(const H2Stream& stream, size_t bytes_max) const;
  void resume(H2Stream& stream);
  [[nodiscard]] bool hold(H2Stream& stream, const Payload& payload, size_t window);
  void set_held(H2Stream& stream, bool held);
  void windows_opened(int32_t stream_id);
  void window_opened(H2Stream& stream);
  // False: the batch is full.
  [[nodiscard]] bool put_data(H2Stream& stream, std::string_view frame_head, size_t bytes, bool is_last);
  [[nodiscard]] std::string_view head_bytes(std::string_view frame);
  [[nodiscard]] HeadUnderWay take_head();
  void head_sent(int32_t stream_id, bool ends_stream);
  void head_not_sent(int32_t stream_id, int error);
  void reset_sent(int32_t stream_id, uint32_t code);
  void spend_for_reset(uint32_t code);
  void goaway_sent(uint32_t code);
  void answer_framed(H2Stream& stream);
  void reset_stream(H2Stream& stream, uint32_t code);
  void drop_pieces(H2Stream& stream);
  [[nodiscard]] H2Stream* stream_of(int32_t stream_id) const;
  void leave_streams(int error);

  H2Shared& shared_;
  PeerAddress peer_;
  uint32_t listener_;
  nghttp2_session* wire_ = nullptr;
  std::unique_ptr<H2RequestHead> head_;  // while a header block arrives
  H2Batch* batch_ = nullptr;             // inside produce()
  H2Stream* first_stream_ = nullptr;
  uint32_t stream_count_ = 0;
  H2Budget control_;
  H2Budget resets_;
  uint64_t turn_ = 0;              // of the last receive()
  uint32_t requests_of_turn_ = 0;  // that came in it
  bool data_may_earn_ = false;     // the DATA frame that arrives has brought a body nothing yet
  uint64_t data_framed_ = 0;
  uint32_t held_count_ = 0;  // streams that are held
  bool paused_ = false;
  bool dying_ = false;
  bool flooded_ = false;
  bool broken_ = false;  // nghttp2 may not be asked for frames any more
  bool draining_ = false;
  bool noted_end_ = false;                    // the end of the connection was noted
  bool noted_peer_ = false;                   // the peer's GOAWAY was
  std::deque<HeadUnderWay> heads_under_way_;  // in the order in which their HEADERS frames leave nghttp2
  HeadUnderWay head_written_;                 // in the frame that nghttp2 is about to hand out
  uint32_t heads_to_compress_ = 0;            // of those under way, not stood in for
  H2HeadMemo memo_;
  std::vector<int32_t> resets_under_way_;  // RST_STREAM of our own, with its note made or none wanted
};

}  // namespace penstock
