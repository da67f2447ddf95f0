// What supervisor and keyd tell each other: the contents of KEY_FILES, KEY_FILE, KEY_CHANNELS and KEY_BREACH.
//
//   supervisor                        keyd                              server
//     KEY_FILES (paths) ───────────►  knows them by number
//     KEY_CHANNELS ────────────────►  a thread for each   ◄── slots ──►  KeyChannel
//     ◄──────────────────── KEY_NEED  when one is first asked for, or has changed
//     KEY_FILE (descriptor) ───────►  reads it, signs
//     ◄────────────────── KEY_BREACH  the supervisor ends that server
//
// keyd can open nothing, and the supervisor, which can, reads nothing. Decoders check everything.
#pragma once

#include "src/admin/channel.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

[[nodiscard]] Status send_key_files(Channel& channel, const std::vector<std::string>& files);
[[nodiscard]] Result<std::vector<std::string>> decode_key_files(const ChannelMessage& message);

struct KeyFile {
  std::string file;
  UniqueFd fd;          // read-only; -1: it could not be opened
  std::string problem;  // then: why
  UniqueFd kept;        // while another state of the file is tried: the one that is in force, or -1
};
[[nodiscard]] Status send_key_file(Channel& channel, const KeyFile& file);
[[nodiscard]] Result<KeyFile> decode_key_file(ChannelMessage message);

// The channels of the server process with that serial: memory 0, bell 0, memory 1, ...
struct KeyChannels {
  uint32_t server = 0;
  std::vector<UniqueFd> fds;
};
[[nodiscard]] Status send_key_channels(Channel& channel, uint32_t server, const std::vector<UniqueFd>& fds);
[[nodiscard]] Result<KeyChannels> decode_key_channels(ChannelMessage message);

struct KeyBreach {
  uint32_t server = 0;
  std::string what;  // follows "it"
};
[[nodiscard]] std::string encode_key_breach(const KeyBreach& breach);
[[nodiscard]] Result<KeyBreach> decode_key_breach(const ChannelMessage& message);

}  // namespace penstock
