// A server's end of a channel whose keyd was broken into: the input chooses what that one writes, where, and what the
// server does meanwhile. Each handshake goes on once at most, whatever is said; nothing is read or written outside of
// its bounds, and the server can end each wait.
#include "src/base/assert.h"
#include "src/tls/key_channel.h"
#include "tests/support/hostile_keys.h"

#include <memory>
#include <vector>

using namespace penstock;

namespace {

constexpr uint32_t WAITS = 2 * KEY_SLOTS;

struct Waiter {
  KeyWait wait;
  KeyRequest request;
  bool told = false;  // its token came, and nothing was taken since
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static HostileKeys world;
  HostileInput input{data, size};
  KeySegment& segment = world.begin();
  KeyChannel channel;
  ASSERT(world.open_channel(channel).has_value());
  std::vector<Waiter> waiters(WAITS);
  for (uint32_t i = 0; i < WAITS; ++i) waiters[i].wait.bind(channel, i);
  while (!input.done()) {
    Waiter& one = waiters[input.below(WAITS)];
    switch (input.below(6)) {
      case 0:
        world.write_anywhere(input);
        break;
      case 1:
        if (one.wait.waiting() || one.told) break;
        ASSERT(one.wait.begin(one.request));
        break;
      case 2:
        one.wait.cancel();
        one.told = false;
        break;
      case 3: {  // an answer as keyd gives it, or as it never would
        const uint32_t slot = input.below(KEY_SLOTS);
        KeySlot& shared = segment.slots[slot];
        shared.reply.status = static_cast<KeyStatus>(input.below(256));
        shared.reply.bytes = static_cast<uint16_t>(input.below(65'536));
        shared.answered.store(input.below(4) == 0 ? input.below(256) : shared.asked.load());
        segment.replied.fetch_or(uint64_t{1} << slot);
        break;
      }
      case 4: {
        const size_t bytes = input.below(SIGNATURE_MAX + 1);
        const auto out = std::make_unique<unsigned char[]>(bytes);
        const size_t taken = one.wait.take({out.get(), bytes});
        ASSERT(taken <= bytes && (one.told || taken == 0));
        if (!one.wait.waiting()) one.told = false;
        if (one.wait.status() != KeyStatus::OK) {
          (void)key_status_text("f", one.wait.status(), {reinterpret_cast<const char*>(out.get()), taken});
        }
        break;
      }
      default: {
        std::array<uint64_t, KEY_SLOTS> tokens{};
        const size_t count = channel.collect(tokens);
        for (size_t i = 0; i < count; ++i) {
          ASSERT(tokens[i] < WAITS && !waiters[tokens[i]].told && !waiters[tokens[i]].wait.waiting());
          waiters[tokens[i]].told = true;
        }
      }
    }
    ASSERT(channel.waiting() <= WAITS + KEY_SLOTS);
  }
  for (Waiter& one : waiters) one.wait.cancel();
  ASSERT(channel.waiting() <= KEY_SLOTS);  // what was sent and never answered
  return 0;
}
