// GuardedText: a copy of some bytes with a page that is not there right behind it (or right before it), so
// that a parser which looks one byte too far crashes in the test and not in the field.
#pragma once

#include "src/base/assert.h"

#include <cstddef>
#include <cstring>
#include <string_view>
#include <sys/mman.h>

namespace penstock {

class GuardedText {
 public:
  enum class Side { BEHIND, BEFORE };

  explicit GuardedText(std::string_view text, Side side = Side::BEHIND) : size_(text.size()) {
    const size_t pages = (text.size() + PAGE - 1) / PAGE;
    mapped_ = (pages + 2) * PAGE;  // one page more than needed on each side
    void* memory = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(memory != MAP_FAILED);
    base_ = static_cast<char*>(memory);
    if (pages != 0) ASSERT(mprotect(base_ + PAGE, pages * PAGE, PROT_READ | PROT_WRITE) == 0);
    text_ = base_ + PAGE + (side == Side::BEHIND ? pages * PAGE - text.size() : 0);
    if (!text.empty()) std::memcpy(text_, text.data(), text.size());
  }
  ~GuardedText() { munmap(base_, mapped_); }
  GuardedText(const GuardedText&) = delete;
  GuardedText& operator=(const GuardedText&) = delete;

  [[nodiscard]] std::string_view view() const { return {text_, size_}; }
  // Takes away, or gives back, the pages that lie wholly in the first `size` bytes.
  void hide_first(size_t size) { protect_first(size, PROT_NONE); }
  void show_first(size_t size) { protect_first(size, PROT_READ | PROT_WRITE); }

  // The last `size` bytes: they end at the guard as well. REQUIRES: Side::BEHIND, size <= the text's.
  [[nodiscard]] std::string_view last(size_t size) const { return {text_ + size_ - size, size}; }

 private:
  void protect_first(size_t size, int protection) {
    const size_t offset = static_cast<size_t>(text_ - base_) % PAGE;
    const size_t bytes = (offset + size) / PAGE * PAGE;
    if (bytes != 0) ASSERT(mprotect(text_ - offset, bytes, protection) == 0);
  }

  static constexpr size_t PAGE = 4096;
  char* base_;
  char* text_;
  size_t size_;
  size_t mapped_;
};

// Room whose first bytes vary and whose end is guarded: holds each prefix of a growing input at the guard, at another
// address each time, as a connection's buffer may.
class GuardedRoom {
 public:
  explicit GuardedRoom(size_t size) : room_(std::string_view(zeros(size), size)) {}
  std::string_view place(std::string_view text) {
    const std::string_view room = room_.last(text.size());
    if (!text.empty()) std::memcpy(const_cast<char*>(room.data()), text.data(), text.size());
    return room;
  }

 private:
  static const char* zeros(size_t size) {
    static constexpr size_t ZEROS = size_t{1} << 17;
    static const char block[ZEROS] = {};
    ASSERT(size <= ZEROS);
    return block;
  }
  GuardedText room_;
};

}  // namespace penstock
