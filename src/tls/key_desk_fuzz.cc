// keyd's end of a channel whose server was broken into: the input chooses what that one writes, where, and when keyd
// looks. No request reaches the signer but one that a server of ours could make, nothing behind a breach is looked at,
// and what keyd answers fits its slot.
#include "src/base/assert.h"
#include "src/tls/key_desk.h"
#include "src/tls/key_request.h"
#include "tests/support/hostile_keys.h"

using namespace penstock;

namespace {

class Signer : public KeySigner {
 public:
  explicit Signer(HostileInput& input) : input_(input) {}
  std::expected<size_t, Refusal> answer(const KeyRequest& request, std::span<unsigned char> out) override {
    ASSERT(!closed && key_request_breach(request) == nullptr && out.size() == SIGNATURE_MAX);
    ASSERT(request.order == KeyOrder::PROBE || request.content_bytes >= 100);
    switch (input_.below(4)) {
      case 0:
        return std::unexpected(Refusal{.later = true});
      case 1:
        return std::unexpected(Refusal{.status = KeyStatus::REFUSED, .detail = std::string(input_.below(2'000), 'd')});
      default:
        return input_.below(SIGNATURE_MAX + 1);
    }
  }
  bool closed = false;

 private:
  HostileInput& input_;
};

KeyRequest any_request(HostileInput& input) {
  constexpr uint16_t SCHEMES[] = {0x0403, 0x0804, 0x0401, 0x0807, 0x0201};
  KeyRequest request;
  request.scheme = SCHEMES[input.below(std::size(SCHEMES))];
  constexpr std::string_view CONTEXT("TLS 1.3, server CertificateVerify\0", 34);
  std::memset(request.content, 0x20, 64);
  std::memcpy(request.content + 64, CONTEXT.data(), CONTEXT.size());
  request.content_bytes = 64 + CONTEXT.size() + 32;
  if (input.below(4) == 0) {
    request.order = KeyOrder::PROBE;
    request.scheme = 0;
    request.content_bytes = 0;
  }
  if (input.below(8) == 0) reinterpret_cast<unsigned char*>(&request)[input.below(sizeof request)] ^= 1;
  return request;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static HostileKeys world;
  HostileInput input{data, size};
  KeySegment& segment = world.begin();
  Signer signer(input);
  auto desk = world.open_desk();
  ASSERT(desk.has_value());
  uint32_t serial = 0;
  while (!input.done() && !signer.closed) {
    switch (input.below(6)) {
      case 0:
        world.write_anywhere(input);
        break;
      case 1: {
        const uint32_t slot = input.below(KEY_SLOTS);
        segment.slots[slot].request = any_request(input);
        segment.slots[slot].asked.store(++serial);
        segment.requested.fetch_or(uint64_t{1} << slot);
        break;
      }
      case 2:
        desk->wake();
        break;
      case 3:  // keyd died, and the next one begins where it was
        desk = world.open_desk();
        ASSERT(desk.has_value());
        break;
      default: {
        const uint64_t before = desk->answers();
        const KeyDesk::Turn turn = desk->serve(signer);
        ASSERT(desk->answers() - before <= KEY_SLOTS);
        ASSERT((turn == KeyDesk::Turn::BREACH) == (desk->breach() != nullptr));
        signer.closed = turn == KeyDesk::Turn::BREACH;
        break;
      }
    }
  }
  return 0;
}
