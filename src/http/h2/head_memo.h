// H2HeadMemo: the header block that a session sent last, to be sent again for the same head.
//
// nghttp2 compresses every head anew. But once a head's fields are in its dynamic table (RFC 7541 section 2.3.2), it
// makes the same block each time and changes nothing by it. From then on the block comes from here, and nghttp2 is
// given a stand-in: one field of the static table, so that it counts the frame and moves the stream on. Whatever
// changes the table ends what is known. Pure; one for each session.
#pragma once

#include "src/http/h2/answer_heads.h"

#include <cstdint>
#include <nghttp2/nghttp2.h>
#include <string>
#include <string_view>

namespace penstock {

inline constexpr size_t H2_FRAME_HEAD_BYTES = 9;  // RFC 9113 section 4.1

class H2HeadMemo {
 public:
  // ":status: 200", whatever the head says.
  [[nodiscard]] static nghttp2_nv stand_in();

  [[nodiscard]] bool knows(const H2AnswerHead& head) const { return serial_ == head.serial; }
  // nghttp2 wrote `frame` for `head`; or the last frame of several.
  void learn(const H2AnswerHead& head, std::string_view frame);
  // The frame for `head` in place of the stand-in's. REQUIRES: knows(head) when that was submitted, and no other head
  // waited to be compressed before it. Valid until the next call. Where the peer has changed the size of the table
  // meanwhile, the fields come as they are, without compression.
  [[nodiscard]] std::string_view replace(const H2AnswerHead& head, std::string_view frame);

 private:
  static constexpr size_t BLOCK_BYTES_MAX = 16'000;  // of the fields as they are: one frame

  uint64_t serial_ = 0;
  std::string block_;
  std::string frame_;
};

}  // namespace penstock
