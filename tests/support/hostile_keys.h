// HostileKeys: the channel between a server and keyd, as who has one end of it and means harm sees it. HostileInput:
// the choices that a fuzzer's bytes make.
#pragma once

#include "src/base/assert.h"
#include "src/base/shared_memory.h"
#include "src/tls/key_channel.h"
#include "src/tls/key_desk.h"

#include <cstring>
#include <fcntl.h>
#include <utility>

namespace penstock {

struct HostileInput {
  const uint8_t* data;
  size_t left;

  [[nodiscard]] bool done() const { return left == 0; }
  [[nodiscard]] uint8_t byte() {
    if (left == 0) return 0;
    --left;
    return *data++;
  }
  [[nodiscard]] uint32_t below(uint32_t bound) {
    uint32_t number = byte();
    for (uint64_t reach = 256; reach < bound; reach <<= 8) number = number << 8 | byte();
    return number % bound;
  }
};

class HostileKeys {
 public:
  HostileKeys() {
    auto ends = create_key_channel();
    ASSERT(ends.has_value());
    ends_ = std::move(*ends);
    auto map = SharedMapping::map(ends_.memory.get(), sizeof(KeySegment), SharedMapping::Access::READ_WRITE);
    ASSERT(map.has_value());
    map_ = std::move(*map);
  }

  // As it was made.
  KeySegment& begin() {
    std::memset(static_cast<void*>(map_.data()), 0, sizeof(KeySegment));
    auto& segment = *reinterpret_cast<KeySegment*>(map_.data());
    segment.magic = KeySegment::MAGIC;
    return segment;
  }
  [[nodiscard]] Result<KeyDesk> open_desk() const { return KeyDesk::open(copy(ends_.memory), copy(ends_.bell)); }
  [[nodiscard]] Status open_channel(KeyChannel& channel) const {
    return channel.open(copy(ends_.memory), copy(ends_.bed));
  }
  // The magic number apart, which is read once.
  void write_anywhere(HostileInput& input) {
    constexpr uint32_t FIRST = offsetof(KeySegment, requested);
    const uint32_t at = FIRST + input.below(sizeof(KeySegment) - FIRST);
    const uint32_t bytes = 1 + input.below(16);
    for (uint32_t i = at; i < at + bytes && i < sizeof(KeySegment); ++i) {
      reinterpret_cast<uint8_t*>(map_.data())[i] = input.byte();
    }
  }

 private:
  static UniqueFd copy(const UniqueFd& fd) { return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3)); }

  KeyChannelEnds ends_;
  SharedMapping map_;
};

}  // namespace penstock
