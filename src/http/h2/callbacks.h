// H2Callbacks: nghttp2's callbacks, each one call of the session. For session*.cc only.
#pragma once

#include "src/http/h2/session.h"

#include <nghttp2/nghttp2.h>

namespace penstock {

struct H2Callbacks {
  // A server's nghttp2_session for it, or nullptr: no memory.
  [[nodiscard]] static nghttp2_session* make_wire(H2Session& session);

  static ssize_t read_body(nghttp2_session* wire, int32_t stream_id, uint8_t* room, size_t size, uint32_t* flags,
                           nghttp2_data_source* source, void* session);

 private:
  static int on_begin_frame(nghttp2_session* wire, const nghttp2_frame_hd* head, void* session);
  static int on_begin_headers(nghttp2_session* wire, const nghttp2_frame* frame, void* session);
  static int on_header(nghttp2_session* wire, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t flags, void* session);
  static int on_data(nghttp2_session* wire, uint8_t flags, int32_t stream_id, const uint8_t* data, size_t size,
                     void* session);
  static int on_frame(nghttp2_session* wire, const nghttp2_frame* frame, void* session);
  static int on_stream_close(nghttp2_session* wire, int32_t stream_id, uint32_t code, void* session);
  static int on_frame_sent(nghttp2_session* wire, const nghttp2_frame* frame, void* session);
  static int on_frame_not_sent(nghttp2_session* wire, const nghttp2_frame* frame, int error, void* session);
  static int send_data(nghttp2_session* wire, nghttp2_frame* frame, const uint8_t* frame_head, size_t size,
                       nghttp2_data_source* source, void* session);
};

}  // namespace penstock
