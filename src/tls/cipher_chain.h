// CipherChain: encrypted bytes on their way to the transport below, in blocks that come from one pool of a reactor.
//
// One thread. A block holds the largest record there is, so a record that is made here lies in one of them; what
// OpenSSL makes is cut where a block ends. The pool keeps what a busy turn needs and gives the rest back: an idle
// connection holds no block.
#pragma once

#include "src/base/assert.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace penstock {

struct CipherBlock {
  // 16 KiB of plaintext, the head of a record, and what a cipher may add (RFC 8446 section 5.2).
  static constexpr size_t BYTES = 16'384 + 5 + 256;
  uint32_t used = 0;
  char data[BYTES];  // not cleared: `used` bounds it
  CipherBlock() {}   // NOLINT
};

class CipherPool {
 public:
  static constexpr size_t KEPT_MAX = 256;  // 4 MiB: what a turn of many answers fills at a time
  using Block = std::unique_ptr<CipherBlock>;

  [[nodiscard]] Block take() {
    ++taken_;
    if (free_.empty()) return std::make_unique<CipherBlock>();
    Block block = std::move(free_.back());
    free_.pop_back();
    return block;
  }
  void give(Block block) {
    --taken_;
    block->used = 0;
    if (free_.size() < KEPT_MAX) free_.push_back(std::move(block));
  }
  [[nodiscard]] size_t taken() const { return taken_; }

 private:
  std::vector<Block> free_;  // the one given last is taken first: it is still in the processor's cache
  size_t taken_ = 0;
};

class CipherChain {
 public:
  [[nodiscard]] bool empty() const { return blocks_.empty(); }
  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] const std::vector<CipherPool::Block>& blocks() const { return blocks_; }

  void append(const char* data, size_t size, CipherPool& pool) {
    bytes_ += size;
    while (size > 0) {
      if (blocks_.empty() || blocks_.back()->used == CipherBlock::BYTES) blocks_.push_back(pool.take());
      CipherBlock& block = *blocks_.back();
      const size_t now = std::min(size, CipherBlock::BYTES - block.used);
      std::memcpy(block.data + block.used, data, now);
      block.used += static_cast<uint32_t>(now);
      data += now;
      size -= now;
    }
  }
  // Room for `size` bytes in one piece, to be written at once. REQUIRES: size <= CipherBlock::BYTES.
  [[nodiscard]] char* grow(size_t size, CipherPool& pool) {
    if (blocks_.empty() || CipherBlock::BYTES - blocks_.back()->used < size) blocks_.push_back(pool.take());
    CipherBlock& block = *blocks_.back();
    char* const room = block.data + block.used;
    block.used += static_cast<uint32_t>(size);
    bytes_ += size;
    return room;
  }
  // A block of its own for `size` bytes. REQUIRES: as grow().
  [[nodiscard]] char* grow_alone(size_t size, CipherPool& pool) {
    blocks_.push_back(pool.take());
    return grow(size, pool);
  }
  void clear(CipherPool& pool) {
    for (CipherPool::Block& block : blocks_) pool.give(std::move(block));
    blocks_.clear();
    bytes_ = 0;
  }
  // An idle connection keeps not even the list.
  void clear_all(CipherPool& pool) {
    clear(pool);
    blocks_.shrink_to_fit();
  }
  // Moves the first `count` blocks to `to`, which is empty.
  void move_front(size_t count, CipherChain& to) {
    ASSERT(to.empty() && count <= blocks_.size());
    if (count == blocks_.size()) return std::swap(*this, to);
    for (size_t i = 0; i < count; ++i) {
      to.bytes_ += blocks_[i]->used;
      to.blocks_.push_back(std::move(blocks_[i]));
    }
    blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(count));
    bytes_ -= to.bytes_;
  }

 private:
  std::vector<CipherPool::Block> blocks_;
  size_t bytes_ = 0;
};

}  // namespace penstock
