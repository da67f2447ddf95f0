#include "tests/support/sim_link.h"

#include "src/base/assert.h"
#include "src/net/wire/byte_order.h"
#include "src/net/wire/checksum.h"
#include "src/net/wire/ip.h"
#include "src/net/wire/tcp_header.h"

#include <algorithm>
#include <cstring>

namespace penstock {

SimLink::SimLink(uint64_t seed, const LinkOptions& options) : prng_(seed), options_(options) {
  for (size_t i = 0; i < 2; ++i) {
    ends_[i].link_ = this;
    ends_[i].which_ = i;
  }
}

MonoTime SimLink::next_event() const {
  MonoTime next = MonoTime::never();
  for (const End& end : ends_) {
    if (!end.waiting_.empty()) next = std::min(next, end.waiting_.front().leaves);
    if (!end.arriving_.empty()) next = std::min(next, MonoTime{end.arriving_.begin()->first});
  }
  return next;
}

DeviceFeatures SimLink::End::features() const {
  return {.tx_ip_checksum = link_->options_.offload,
          .tx_tcp_checksum = link_->options_.offload,
          .copies_payload = link_->options_.copies,
          .tx_large_v4_bytes = link_->options_.large_bytes,
          .tx_large_v6_bytes = link_->options_.large_bytes};
}

size_t SimLink::End::rx_burst(std::span<RxFrame> out) {
  size_t count = 0;
  while (count < out.size() && !arriving_.empty() && arriving_.begin()->first <= link_->now_.ns) {
    const uint32_t token = next_token_++;
    std::vector<uint8_t>& bytes = lent_[token];
    bytes = std::move(arriving_.begin()->second);
    arriving_.erase(arriving_.begin());
    out[count++] = {.data = bytes.data(), .size = static_cast<uint32_t>(bytes.size()), .token = token};
  }
  return count;
}

void SimLink::End::rx_release(uint32_t token) { ASSERT(lent_.erase(token) == 1); }

size_t SimLink::End::tx_burst(std::span<const TxFrame> frames) {
  for (const TxFrame& frame : frames) link_->take(*this, frame);
  return frames.size();
}

size_t SimLink::End::tx_done(std::span<uint32_t> holds) {
  size_t count = 0;
  while (!waiting_.empty() && waiting_.front().leaves <= link_->now_ && count + TxFrame::PARTS_MAX <= holds.size()) {
    Waiting& frame = waiting_.front();
    link_->leave(*this, frame);
    if (!link_->options_.copies) {
      for (const uint32_t hold : frame.holds) holds[count++] = hold;
    }
    waiting_.pop_front();
    if (count == 0 && link_->options_.copies) continue;
  }
  return count;
}

void SimLink::take(End& from, const TxFrame& frame) {
  ++frame_count;
  std::span<const TxPart> parts(frame.parts.data(), frame.part_count);
  if (frame.segment_bytes == 0) {
    queue(from, segment_of(frame, parts));
    return;
  }
  ++large_count;
  uint32_t payload = 0;
  for (const TxPart& part : parts) payload += part.size;
  ASSERT(payload > frame.segment_bytes && payload <= options_.large_bytes && frame.fill_tcp_checksum &&
         (payload - 1) / frame.segment_bytes < TxFrame::SEGMENTS_MAX);
  uint32_t skip = 0;  // of the first part
  for (uint32_t at = 0; at < payload; at += frame.segment_bytes) {
    const uint32_t bytes = std::min<uint32_t>(frame.segment_bytes, payload - at);
    std::vector<TxPart> own;
    for (uint32_t left = bytes; left != 0;) {
      const TxPart& part = parts.front();
      own.push_back({part.data + skip, std::min(part.size - skip, left), part.hold});
      left -= own.back().size;
      skip += own.back().size;
      if (skip == part.size) parts = parts.subspan(1), skip = 0;
    }
    const bool last = at + bytes == payload;
    Waiting segment = segment_of(frame, own, at, last);
    if (!last) segment.holds.clear();
    queue(from, std::move(segment));
  }
}

// What a card makes of a frame's head for the segment at `offset` of its payload, of `parts`.
SimLink::Waiting SimLink::segment_of(const TxFrame& frame, std::span<const TxPart> parts, uint32_t offset, bool last) {
  Waiting out;
  out.bytes.assign(frame.head, frame.head + frame.head_bytes);
  out.head_bytes = frame.head_bytes;
  out.parts.assign(parts.begin(), parts.end());
  for (const TxPart& part : parts) out.bytes.insert(out.bytes.end(), part.data, part.data + part.size);
  for (size_t i = 0; i < frame.part_count; ++i) out.holds.push_back(frame.parts[i].hold);
  uint8_t* ip = &out.bytes[frame.ip_offset];
  uint8_t* tcp = &out.bytes[frame.tcp_offset];
  const std::span<uint8_t> segment = std::span(out.bytes).subspan(frame.tcp_offset);
  if (frame.segment_bytes != 0) {
    const bool v4 = *ip >> 4 == 4;
    const size_t ip_bytes = out.bytes.size() - frame.ip_offset;
    store_be16(ip + (v4 ? 2 : 4), static_cast<uint16_t>(ip_bytes - (v4 ? 0 : IpHeader::V6_BYTES)));
    ASSERT(frame.fill_ip_checksum == v4);
    store_be32(tcp + 4, load_be32(tcp + 4) + offset);
    if (!last) tcp[13] &= static_cast<uint8_t>(~(TCP_FIN | TCP_PSH));
    const InternetSum length = {static_cast<uint16_t>(segment.size())};
    store_be16(tcp + TCP_CHECKSUM_OFFSET, (InternetSum{load_be16(tcp + TCP_CHECKSUM_OFFSET)} + length).value);
  }
  if (frame.fill_ip_checksum) {
    ASSERT(load_be16(ip + 10) == 0);
    store_be16(ip + 10, checksum_of(internet_sum({ip, 20})));
  }
  if (frame.fill_tcp_checksum) store_be16(tcp + TCP_CHECKSUM_OFFSET, checksum_of(internet_sum(segment)));
  return out;
}

void SimLink::queue(End& from, Waiting&& frame) {
  frame.lost = from.waiting_.size() >= options_.queue_max;
  const auto wire = nanoseconds(static_cast<int64_t>(frame.bytes.size() * 1'000'000'000 / options_.bytes_per_second));
  from.busy_until_ = std::max(from.busy_until_, now_) + (frame.lost ? Duration{} : wire);
  frame.leaves = from.busy_until_;
  from.waiting_.push_back(std::move(frame));
}

void SimLink::leave(End& from, Waiting& frame) {
  size_t at = frame.head_bytes;
  for (const TxPart& part : frame.parts) {
    if (!options_.copies && std::memcmp(part.data, &frame.bytes[at], part.size) != 0) ++memory_changed;
    at += part.size;
  }
  const auto happens = [&](uint32_t one_in) { return one_in != 0 && prng_.one_in(one_in); };
  if (frame.lost || happens(options_.faults.lose_one_in)) {
    ++lost_count;
    return;
  }
  if (happens(options_.faults.corrupt_one_in)) {
    frame.bytes[prng_.below(static_cast<uint32_t>(frame.bytes.size()))] ^= static_cast<uint8_t>(1 + prng_.below(255));
  }
  End& to = ends_[1 - from.which_];
  const uint32_t copies = happens(options_.faults.duplicate_one_in) ? 2 : 1;
  for (uint32_t i = 0; i < copies; ++i) {
    Duration delay = options_.delay;
    if (happens(options_.faults.delay_one_in) || i != 0)
      delay = delay + options_.delay * prng_.below(4) + microseconds(prng_.below(3'000));
    to.arriving_.emplace((frame.leaves + delay).ns, frame.bytes);
  }
}

}  // namespace penstock
