// SackScoreboard: what the peer has told of bytes beyond its ACK (RFC 2018), and what follows from it (RFC 6675).
//
// A connection has one only while there is something in it; owned by the engine's pool. Ranges are in order, apart from
// each other, above SND.UNA. Beyond RANGES_MAX the highest are forgotten: to know less is always safe.
#pragma once

#include "src/net/seq_num.h"
#include "src/net/wire/tcp_header.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace penstock {

struct SeqRange {
  SeqNum begin;
  SeqNum end;  // behind the last
};

class SackScoreboard {
 public:
  static constexpr size_t RANGES_MAX = 32;
  static constexpr uint32_t DUP_THRESH = 3;

  // Takes the blocks of an ACK. Blocks that are not within (snd_una, snd_max] are no news, whatever they are (D-SACK,
  // lies). Returns the bytes that were not known before.
  uint32_t update(SeqNum snd_una, SeqNum snd_max, std::span<const SackBlock> blocks);
  // SND.UNA moved.
  void advance(SeqNum snd_una);
  // RFC 2018 section 8: after a timeout the peer may have thrown away what it told of.
  void clear() { count_ = 0; }

  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::span<const SeqRange> ranges() const { return {ranges_.data(), count_}; }
  [[nodiscard]] SeqNum highest() const { return ranges_[count_ - 1].end; }  // REQUIRES: !empty()

  // IsLost(): three ranges, or more than two segments' bytes, were received above `seq`. REQUIRES: `seq` is in no
  // range.
  [[nodiscard]] bool is_lost(SeqNum seq, uint32_t mss) const;
  // SetPipe(): the bytes that are, by all we know, in the network.
  [[nodiscard]] uint32_t pipe(SeqNum snd_una, SeqNum snd_max, SeqNum high_rxt, uint32_t mss) const;
  // The first hole at or after `from`, to the next range's beginning. Nothing above highest().
  [[nodiscard]] std::optional<SeqRange> next_hole(SeqNum from) const;
  // `seq`, or the end of the range that it is in.
  [[nodiscard]] SeqNum skip_received(SeqNum seq) const;

 private:
  uint32_t insert(SeqRange range);

  std::array<SeqRange, RANGES_MAX> ranges_;
  uint32_t count_ = 0;
};

}  // namespace penstock
