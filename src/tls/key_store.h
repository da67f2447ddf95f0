// KeyStore: the keys that keyd holds, each read when it is first asked for.
//
// In keyd alone. answer() is called by the threads of the desks, the rest by the main thread. It opens nothing: the
// supervisor does, and hands over a descriptor. A file is read again when a certificate asks for another key than the
// one read last, at most once a second; the key of before stays for PREVIOUS_STAYS, for handshakes that began with it.
#pragma once

#include "src/base/clock.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/tls/key_desk.h"
#include "src/tls/private_key.h"

#include <expected>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace penstock {

class KeyStore : public KeySigner {
 public:
  static constexpr Duration AGAIN_AFTER = seconds(1);
  static constexpr Duration PREVIOUS_STAYS = seconds(60);
  static constexpr Duration EXPIRE_EVERY = seconds(1);  // so much longer they may stay
  static constexpr size_t FILE_BYTES_MAX = 64 * 1024;

  // `wanted_fd`: an eventfd that is written when take_wanted() has something to say; not owned.
  KeyStore(Clock& clock, int wanted_fd) : clock_(clock), wanted_fd_(wanted_fd) {}

  // The files that there are; the keys of all others are wiped.
  void set_files(const std::vector<std::string>& files);

  [[nodiscard]] std::expected<size_t, Refusal> answer(const KeyRequest& request, std::span<unsigned char> out) override;

  // The files to be opened, each once until deliver().
  [[nodiscard]] std::vector<std::string> take_wanted();
  // What became of it: a descriptor, or why there is none. `kept`, unless -1: what the file was before, whose key is
  // still asked for; it is the key of before where no other was read. What the operator should know is appended to
  // `notes`. The desks are to be woken.
  void deliver(const std::string& file, const Result<int>& opened, int kept, std::vector<std::string>& notes);

  // Wipes keys of before whose time is over. When to call it next.
  MonoTime expire(MonoTime now);
  [[nodiscard]] size_t held() const;  // keys in memory

 private:
  struct Entry {
    std::string file;
    std::optional<PrivateKey> key;
    std::optional<PrivateKey> previous;
    MonoTime previous_until;
    bool wanted = false;  // asked for, not delivered
    bool read = false;    // once at least
    MonoTime read_at;
    KeyStatus status = KeyStatus::OK;  // of the last reading
    std::string detail;
    std::string noted;  // the last line for the operator: said once
  };
  // `as_it_lies`: what the file holds now is asked for, not what was read of it some time ago. REQUIRES: locked
  [[nodiscard]] std::expected<const PrivateKey*, Refusal> find(const KeyName& name, bool as_it_lies);
  static std::expected<PrivateKey, Refusal> read_key(int fd, std::string& mode_note);

  Clock& clock_;
  int wanted_fd_;
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::vector<uint64_t> wanted_;
  MonoTime expire_at_ = MonoTime::never();
};

}  // namespace penstock
