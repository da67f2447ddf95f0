// Feeds payloads of any content to the decoders of the messages about pools: the supervisor, which is root, hears them
// from a server that may be in anyone's hands. Checked: nothing crashes, and what was accepted can be sent on, and says
// the same then.
#include "src/admin/pool_messages.h"
#include "src/base/assert.h"

#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <utility>

namespace penstock {
namespace {

// What is encoded may be shortened once, but not again.
template <typename Encode, typename Decode>
void check(std::string_view payload, Encode encode, Decode decode) {
  const auto first = decode(payload);
  if (!first) return;
  const std::string once = encode(*first);
  const auto second = decode(once);
  ASSERT(second.has_value());
  const auto third = decode(encode(*second));
  ASSERT(third.has_value());
}

void check_worker(std::string_view payload, size_t fds) {
  ChannelMessage message;
  message.kind = MessageKind::WORKER;
  message.payload = payload;
  for (size_t i = 0; i < fds; ++i) message.fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto worker = decode_worker(std::move(message));
  ASSERT(!worker ||
         (worker->worker > 0 && worker->pid > 0 && worker->epoch > 0 && worker->server_bells.size() + 3 == fds));
}

void feed(uint8_t way, std::string_view payload) {
  switch (way % 8) {
    case 0:
      return check(payload, encode_notice, decode_notice);
    case 1:
      return check(payload, encode_pool_state, decode_pool_state);
    case 2:
      return check(payload, encode_pool_need, decode_pool_need);
    case 3:
      return check(payload, encode_worker_report, decode_worker_report);
    case 4:
      return check(payload, encode_pool_load, decode_pool_load);
    default:
      return check_worker(payload, way / 8 % 8);
  }
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  penstock::feed(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  // Every descriptor that a case opened is closed again, or this number creeps up.
  const int probe = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT(probe < 32);
  ::close(probe);
  return 0;
}
