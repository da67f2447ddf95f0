// H2Batch: what a session sends with one send of the transport below: frames of many streams, in order.
//
// Lent by a pool while that send is under way. Frame heads, control frames and small payloads lie in `bytes`; large
// payloads go by reference to their sender's memory or file, which stays lent until the send is over.
#pragma once

#include "src/base/assert.h"
#include "src/base/handle.h"
#include "src/base/inplace_vector.h"
#include "src/transport/transport.h"

#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace penstock {

class H2Batch {
 public:
  static constexpr size_t BYTES_MAX = 64 * 1024;
  static constexpr size_t CONTROL_BYTES = 16'384 + 9;  // what nghttp2 gives at most in one piece
  static constexpr size_t FRAMES_USUAL = 96;           // two of each answer of 1 KiB
  static constexpr size_t COPY_MAX = 2 * 1024;         // payloads up to it are copied: cheaper than two more parts

  H2Batch() { frames.reserve(FRAMES_USUAL); }  // NOLINT: taking one does not zero its bytes
  H2Batch(const H2Batch&) = delete;
  H2Batch& operator=(const H2Batch&) = delete;
  ~H2Batch() = default;

  // Whether so many bytes and parts by reference fit, with room for a control frame left behind them.
  [[nodiscard]] bool fits(size_t bytes, size_t parts) const {
    return used_ + bytes + CONTROL_BYTES <= BYTES_MAX && parts_.size() + 2 * parts + 1 <= Parts::capacity();
  }
  void copy(std::string_view text) {
    ASSERT(text.size() <= BYTES_MAX - used_);
    if (text.empty()) return;
    char* at = bytes_ + used_;
    std::memcpy(at, text.data(), text.size());
    used_ += text.size();
    if (tail_is_bytes_) {
      parts_.back().size += text.size();
      return;
    }
    add(SendPart::memory(at, text.size()));
    tail_is_bytes_ = true;
  }
  void refer(const SendPart& part) { add(part); }
  [[nodiscard]] std::span<const SendPart> parts() const { return parts_.values(); }
  [[nodiscard]] bool empty() const { return parts_.empty(); }

  // A frame of a stream that is in it: the stream is told when the send is over.
  struct Frame {
    Handle stream;
    uint32_t payload = 0;
  };
  std::vector<Frame> frames;

 private:
  using Parts = InplaceVector<SendPart, Transport::SEND_PARTS_MAX>;
  void add(const SendPart& part) {
    parts_.push_back(part);
    tail_is_bytes_ = false;
  }

  size_t used_ = 0;
  bool tail_is_bytes_ = false;
  Parts parts_;
  char bytes_[BYTES_MAX];
};

}  // namespace penstock
