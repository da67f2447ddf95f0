#include "src/net/sack_scoreboard.h"

#include <algorithm>

namespace penstock {

uint32_t SackScoreboard::update(SeqNum snd_una, SeqNum snd_max, std::span<const SackBlock> blocks) {
  uint32_t fresh = 0;
  for (const SackBlock& block : blocks) {
    const SeqRange range = {{block.left}, {block.right}};
    if (range.begin <= snd_una || range.end <= range.begin || range.end > snd_max || range.begin >= snd_max) continue;
    fresh += insert(range);
  }
  return fresh;
}

// Merges `range` with all that it touches.
uint32_t SackScoreboard::insert(SeqRange range) {
  uint32_t first = 0;
  while (first < count_ && ranges_[first].end < range.begin) ++first;
  uint32_t last = first;  // behind the last one touched
  uint32_t known = 0;
  SeqRange merged = range;
  while (last < count_ && ranges_[last].begin <= range.end) {
    known += seq_bytes(ranges_[last].begin, ranges_[last].end);
    merged.begin = seq_min(merged.begin, ranges_[last].begin);
    merged.end = seq_max(merged.end, ranges_[last].end);
    ++last;
  }
  if (first == last) {
    if (count_ == RANGES_MAX) {
      if (first == count_) return 0;
      --count_;  // forget the highest
    }
    std::copy_backward(ranges_.begin() + first, ranges_.begin() + count_, ranges_.begin() + count_ + 1);
    ++count_;
  } else {
    std::copy(ranges_.begin() + last, ranges_.begin() + count_, ranges_.begin() + first + 1);
    count_ -= last - first - 1;
  }
  ranges_[first] = merged;
  return seq_bytes(merged.begin, merged.end) - known;
}

void SackScoreboard::advance(SeqNum snd_una) {
  uint32_t gone = 0;
  while (gone < count_ && ranges_[gone].end <= snd_una) ++gone;
  std::copy(ranges_.begin() + gone, ranges_.begin() + count_, ranges_.begin());
  count_ -= gone;
  if (count_ != 0 && ranges_[0].begin < snd_una) ranges_[0].begin = snd_una;
}

bool SackScoreboard::is_lost(SeqNum seq, uint32_t mss) const {
  uint32_t above = 0;
  uint32_t bytes = 0;
  for (uint32_t i = count_; i-- > 0 && ranges_[i].begin >= seq;) {
    bytes += seq_bytes(ranges_[i].begin, ranges_[i].end);
    if (++above >= DUP_THRESH || bytes > (DUP_THRESH - 1) * mss) return true;
  }
  return false;
}

// A hole is lost or not as a whole, for what is received above its first byte is received above its last.
uint32_t SackScoreboard::pipe(SeqNum snd_una, SeqNum snd_max, SeqNum high_rxt, uint32_t mss) const {
  uint32_t bytes = 0;
  SeqNum at = snd_una;
  for (uint32_t i = 0; i <= count_; ++i) {
    const SeqNum end = i < count_ ? ranges_[i].begin : snd_max;
    if (at < end) {
      if (i == count_ || !is_lost(at, mss)) bytes += seq_bytes(at, end);
      if (at < high_rxt) bytes += seq_bytes(at, seq_min(end, high_rxt));
    }
    if (i < count_) at = ranges_[i].end;
  }
  return bytes;
}

std::optional<SeqRange> SackScoreboard::next_hole(SeqNum from) const {
  for (uint32_t i = 0; i < count_; ++i) {
    if (from < ranges_[i].begin) return SeqRange{from, ranges_[i].begin};
    from = seq_max(from, ranges_[i].end);
  }
  return std::nullopt;
}

SeqNum SackScoreboard::skip_received(SeqNum seq) const {
  for (uint32_t i = 0; i < count_; ++i) {
    if (seq >= ranges_[i].begin && seq < ranges_[i].end) return ranges_[i].end;
  }
  return seq;
}

}  // namespace penstock
