#include "src/http/h2/callbacks.h"

#include "src/http/h2/fields.h"

#include <memory>

namespace penstock {
namespace {

constexpr uint64_t OURS_TO_LIMIT = uint64_t{1} << 32;  // H2Budget counts resets, and says so to the journal
constexpr size_t DEFLATE_TABLE_BYTES = 4'096;          // of HPACK's dynamic table, whatever the peer offers
constexpr size_t ACKS_QUEUED_MAX = 1'000;

H2Session& of(void* session) { return *static_cast<H2Session*>(session); }

struct Setup {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* option = nullptr;
  Setup() = default;
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;
  ~Setup() {
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
  }
};

}  // namespace

nghttp2_session* H2Callbacks::make_wire(H2Session& session) {
  Setup setup;
  if (nghttp2_session_callbacks_new(&setup.callbacks) != 0 || nghttp2_option_new(&setup.option) != 0) return nullptr;
  nghttp2_session_callbacks* const calls = setup.callbacks;
  nghttp2_session_callbacks_set_on_begin_frame_callback(calls, on_begin_frame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(calls, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
  nghttp2_session_callbacks_set_on_frame_send_callback(calls, on_frame_sent);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(calls, on_frame_not_sent);
  nghttp2_session_callbacks_set_send_data_callback(calls, send_data);
  nghttp2_option* const option = setup.option;
  nghttp2_option_set_no_http_messaging(option, 1);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_builtin_recv_extension_type(option, NGHTTP2_PRIORITY_UPDATE);
  nghttp2_option_set_max_deflate_dynamic_table_size(option, DEFLATE_TABLE_BYTES);
  nghttp2_option_set_max_outbound_ack(option, ACKS_QUEUED_MAX);
  nghttp2_option_set_stream_reset_rate_limit(option, OURS_TO_LIMIT, OURS_TO_LIMIT);
  nghttp2_session* wire = nullptr;
  return nghttp2_session_server_new3(&wire, calls, &session, option, session.shared_.memory) == 0 ? wire : nullptr;
}

int H2Callbacks::on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* session) {
  of(session).frame_begun(head->type, head->length, head->flags, head->stream_id);
  return 0;
}

int H2Callbacks::on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* session) {
  of(session).headers_begun(frame->headers.cat == NGHTTP2_HCAT_REQUEST);
  return 0;
}

int H2Callbacks::on_header(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size,
                           const uint8_t* value, size_t value_size, uint8_t, void* session) {
  return of(session).header(h2_text(name, name_size), h2_text(value, value_size)) ? 0 : NGHTTP2_ERR_PAUSE;
}

int H2Callbacks::on_data(nghttp2_session*, uint8_t, int32_t stream_id, const uint8_t* data, size_t size,
                         void* session) {
  of(session).data(stream_id, h2_text(data, size));
  return 0;
}

int H2Callbacks::on_frame(nghttp2_session*, const nghttp2_frame* frame, void* session) {
  H2Session& s = of(session);
  const bool end_stream = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (frame->hd.type == NGHTTP2_HEADERS) {
    s.headers_done(frame->hd.stream_id, frame->headers.cat == NGHTTP2_HCAT_REQUEST, end_stream);
  } else if (frame->hd.type == NGHTTP2_DATA) {
    s.data_done(frame->hd.stream_id, frame->hd.length, frame->data.padlen, end_stream);
  } else if (frame->hd.type == NGHTTP2_GOAWAY) {
    s.peer_left(frame->goaway.error_code);
  } else if (frame->hd.type == NGHTTP2_WINDOW_UPDATE) {
    s.windows_opened(frame->hd.stream_id);
  } else if (frame->hd.type == NGHTTP2_SETTINGS) {
    s.windows_opened(0);  // those of all streams may be wider
  } else if (frame->hd.type == NGHTTP2_PRIORITY_UPDATE) {
    s.priority_updated(static_cast<const nghttp2_ext_priority_update*>(frame->ext.payload)->stream_id);
  }
  return 0;
}

int H2Callbacks::on_stream_close(nghttp2_session*, int32_t stream_id, uint32_t, void* session) {
  of(session).stream_over(stream_id);
  return 0;
}

int H2Callbacks::on_frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* session) {
  H2Session& s = of(session);
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
      s.head_sent(frame->hd.stream_id, (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
      break;
    case NGHTTP2_RST_STREAM:
      s.reset_sent(frame->hd.stream_id, frame->rst_stream.error_code);
      break;
    case NGHTTP2_GOAWAY:
      s.goaway_sent(frame->goaway.error_code);
      break;
    default:
      break;
  }
  return 0;
}

int H2Callbacks::on_frame_not_sent(nghttp2_session*, const nghttp2_frame* frame, int error, void* session) {
  if (frame->hd.type == NGHTTP2_HEADERS) of(session).head_not_sent(frame->hd.stream_id, error);
  return 0;
}

ssize_t H2Callbacks::read_body(nghttp2_session*, int32_t stream_id, uint8_t*, size_t size, uint32_t* flags,
                               nghttp2_data_source*, void* session) {
  H2Session& s = of(session);
  H2Stream* stream = s.stream_of(stream_id);
  if (stream == nullptr) return NGHTTP2_ERR_DEFERRED;
  const H2Session::Payload payload = s.next_payload(*stream, size);
  if ((payload.bytes == 0 && !payload.is_last) || s.hold(*stream, payload, size)) {
    stream->deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (payload.is_last) *flags |= NGHTTP2_DATA_FLAG_EOF;
  if (payload.is_last && stream->reader.has_trailers()) {
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    s.submit_trailers(*stream);
  }
  return static_cast<ssize_t>(payload.bytes);
}

int H2Callbacks::send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* frame_head, size_t size,
                           nghttp2_data_source*, void* session) {
  H2Session& s = of(session);
  H2Stream* stream = s.stream_of(frame->hd.stream_id);
  // What the frame was announced for is gone: the stream is being reset.
  if (stream == nullptr || stream->body_left < size) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  const bool is_last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  return s.put_data(*stream, h2_text(frame_head, H2_FRAME_HEAD_BYTES), size, is_last) ? 0 : NGHTTP2_ERR_WOULDBLOCK;
}

}  // namespace penstock
