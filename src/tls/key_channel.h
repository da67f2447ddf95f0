// KeyChannel: a server thread's way to the private keys, which are in keyd.
//
// One for each reactor, and one for the control thread. Used by one thread. It never waits (check_key() alone does) and
// allocates nothing after open. At most KEY_SLOTS signatures are under way, at most WAITING_MAX more wait for a slot;
// one more fails at once (overloaded()). keyd may die and be replaced meanwhile: what it had not answered is signed by
// the next one, and nothing has to be done here. What never comes is for the caller's handshake time-out:
// KeyWait::cancel().
#pragma once

#include "src/base/result.h"
#include "src/base/shared_memory.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"
#include "src/tls/key_abi.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

// What a channel is made of. A server that was broken into can make nobody wait: it never has the bell.
struct KeyChannelEnds {
  UniqueFd memory;  // of both ends: a sealed memfd of sizeof(KeySegment)
  UniqueFd bed;     // the server's: where it waits for answers (src/base/doorbell.h)
  UniqueFd bell;    // keyd's: what it rings when it has answered
};
[[nodiscard]] Result<KeyChannelEnds> create_key_channel();

// The name of a key file in KeyName. The same path gives the same number in every process.
[[nodiscard]] uint64_t key_file_id(std::string_view path);

class KeyChannel;

// One signature that somebody waits for. Lives where the connection lives; neither copies nor moves.
class KeyWait {
 public:
  KeyWait() = default;
  KeyWait(const KeyWait&) = delete;
  KeyWait& operator=(const KeyWait&) = delete;
  ~KeyWait();  // REQUIRES: not waiting()

  // Whose it is: `token` comes out of KeyChannel::collect(). Before the first handshake.
  void bind(KeyChannel& channel, uint64_t token) {
    channel_ = &channel;
    token_ = token;
  }
  void unbind() { channel_ = nullptr; }  // REQUIRES: not waiting(). begin() fails from here on

  // True from begin() until collect() gave the token, or cancel().
  [[nodiscard]] bool waiting() const { return state_ == State::QUEUED || state_ == State::SENT; }
  // Gives up; the answer is thrown away when it comes.
  void cancel();
  // Why the last signature failed; OK if it did not, or where it was no answer of keyd's (cancelled, overloaded).
  [[nodiscard]] KeyStatus status() const { return status_; }
  // Whether the last begin() failed because too many wait.
  [[nodiscard]] bool overloaded() const { return overloaded_; }

  // For the provider: starts, and takes what came. `request` must stay until waiting() is false.
  [[nodiscard]] bool begin(const KeyRequest& request);  // false: overloaded, or not bound
  // The signature or, with another status than OK, a sentence. Frees the slot. Empty: it was cancelled.
  [[nodiscard]] size_t take(std::span<unsigned char> out);

 private:
  friend class KeyChannel;
  enum class State : uint8_t { IDLE, QUEUED, SENT, ANSWERED };
  KeyChannel* channel_ = nullptr;
  const KeyRequest* request_ = nullptr;
  uint64_t token_ = 0;
  KeyWait* before_ = nullptr;  // in the queue
  KeyWait* after_ = nullptr;
  State state_ = State::IDLE;
  KeyStatus status_ = KeyStatus::OK;
  bool overloaded_ = false;
  uint8_t slot_ = 0;
};

class KeyChannel {
 public:
  static constexpr uint32_t WAITING_MAX = 1024;

  [[nodiscard]] Status open(UniqueFd memory, UniqueFd bed);
  KeyChannel() = default;
  KeyChannel(const KeyChannel&) = delete;
  KeyChannel& operator=(const KeyChannel&) = delete;

  // Readable, edge-triggered, when collect() has something to give: Transport::add_wake_source().
  [[nodiscard]] int wake_fd() const { return bed_.get(); }
  // The tokens whose handshake can go on, each once. Call it once per WOKEN.
  [[nodiscard]] size_t collect(std::span<uint64_t, KEY_SLOTS> tokens);

  [[nodiscard]] uint32_t waiting() const { return in_slots_ + queued_; }  // cancelled ones included until answered
  [[nodiscard]] uint64_t overloaded() const { return overloaded_; }       // refused because too many waited, since open

 private:
  friend class KeyWait;
  [[nodiscard]] bool begin(KeyWait& wait);
  void send(KeyWait& wait);
  void unqueue(KeyWait& wait);
  void free_slot(uint8_t slot);
  void send_queued();

  SharedMapping memory_;
  UniqueFd bed_;
  KeySegment* segment_ = nullptr;
  uint64_t free_ = ~uint64_t{0};
  std::array<KeyWait*, KEY_SLOTS> owners_{};  // nullptr: free, or cancelled and not answered yet
  std::array<uint32_t, KEY_SLOTS> serials_{};
  KeyWait* first_ = nullptr;
  KeyWait* last_ = nullptr;
  uint32_t in_slots_ = 0;
  uint32_t queued_ = 0;
  uint64_t overloaded_ = 0;
};

// Asks whether keyd has the key, waiting up to `patience`: for the thread that loads certificates, on a channel of its
// own. The error is a whole sentence that begins with `file`.
[[nodiscard]] Status check_key(KeyChannel& channel, const KeyName& key, const std::string& file, Duration patience);

// "FILE holds no private key …", with what keyd added.
[[nodiscard]] std::string key_status_text(const std::string& file, KeyStatus status, std::string_view detail);

}  // namespace penstock
