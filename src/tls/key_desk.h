// KeyDesk: keyd's end of one channel: takes requests, checks them, has them signed, answers.
//
// Used by one thread of keyd. The memory is written by a server that may be anybody's: a request is copied once, the
// copy is checked, the copy is used. The first request that no server of ours makes is the last: serve() says BREACH,
// and the desk is to be closed. It never reads back what it wrote.
#pragma once

#include "src/base/result.h"
#include "src/tls/key_channel.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>

namespace penstock {

// Who has the keys. Called by any thread of keyd.
class KeySigner {
 public:
  virtual ~KeySigner() = default;
  // The signature (nothing for PROBE) in `out`. Error: why not. LATER: the key is being read; ask again when
  // KeyDesk::wake() has been called.
  struct Refusal {
    KeyStatus status{};
    bool later = false;
    std::string detail;  // at most KEY_DETAIL_MAX bytes are sent
  };
  [[nodiscard]] virtual std::expected<size_t, Refusal> answer(const KeyRequest& request,
                                                              std::span<unsigned char> out) = 0;
};

class KeyDesk {
 public:
  [[nodiscard]] static Result<KeyDesk> open(UniqueFd memory, UniqueFd bell);

  enum class Turn : uint8_t { IDLE, WORKED, BREACH };
  // Answers all that waits. After open() it looks at every slot: another keyd may have died over them.
  [[nodiscard]] Turn serve(KeySigner& signer);
  // Sleeps until there is something to serve, or wake(). REQUIRES: serve() said IDLE.
  void wait();
  // From any thread: wait() returns, and what was LATER is asked again.
  void wake();

  [[nodiscard]] const char* breach() const { return breach_; }  // what the server did
  [[nodiscard]] uint64_t answers() const { return answers_; }   // given since open

 private:
  KeyDesk() = default;
  void look_at(uint8_t slot, KeySigner& signer);

  static constexpr uint32_t FRUITLESS_MAX = 100'000;  // times that a server may wake us for nothing in a row

  SharedMapping memory_;
  UniqueFd bell_;
  KeySegment* segment_ = nullptr;
  std::unique_ptr<std::atomic<bool>> again_;  // wake() was called
  uint64_t later_ = 0;                        // slots whose key is being read
  std::array<uint32_t, KEY_SLOTS> done_{};    // the serial answered last
  uint64_t answers_ = 0;
  uint32_t fruitless_ = 0;
  const char* breach_ = nullptr;
};

}  // namespace penstock
