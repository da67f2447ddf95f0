#include "src/admin/key_messages.h"

#include "src/admin/json.h"

#include <utility>

namespace penstock {
namespace {

std::vector<int> numbers(const std::vector<UniqueFd>& fds) {
  std::vector<int> out;
  for (const UniqueFd& fd : fds) out.push_back(fd.get());
  return out;
}

Result<Json> object_of(const ChannelMessage& message) {
  auto json = parse_json(message.payload);
  const std::string kind(message_kind_name(message.kind));
  if (!json || !json->is_object()) return fail(kind + " is not a JSON object");
  return std::move(*json);
}

}  // namespace

Status send_key_files(Channel& channel, const std::vector<std::string>& files) {
  return channel.send(MessageKind::KEY_FILES, 0, json_line({{"files", files}}));
}

Result<std::vector<std::string>> decode_key_files(const ChannelMessage& message) {
  const auto json = object_of(message);
  if (!json) return std::unexpected(json.error());
  std::vector<std::string> files;
  for (const Json& file : json_array(*json, "files")) {
    if (!file.is_string()) return fail("KEY_FILES with a path that is no text");
    files.push_back(file.get<std::string>());
  }
  return files;
}

Status send_key_file(Channel& channel, const KeyFile& file) {
  std::vector<int> fds;
  if (file.fd.valid()) fds.push_back(file.fd.get());
  if (file.kept.valid()) fds.push_back(file.kept.get());
  return channel.send(MessageKind::KEY_FILE, 0,
                      json_line({{"file", file.file}, {"problem", file.problem}, {"kept", file.kept.valid() ? 1 : 0}}),
                      fds);
}

Result<KeyFile> decode_key_file(ChannelMessage message) {
  const auto json = object_of(message);
  if (!json) return std::unexpected(json.error());
  KeyFile file{.file = json_text(*json, "file"), .problem = json_text(*json, "problem")};
  const bool kept = json_number(*json, "kept") != 0;
  if (message.fds.size() != size_t{file.problem.empty()} + size_t{kept}) {
    return fail("KEY_FILE brings neither a file nor a reason, or both, or not what it says is kept");
  }
  if (kept) file.kept = std::move(message.fds.back());
  if (file.problem.empty()) file.fd = std::move(message.fds.front());
  return file;
}

Status send_key_channels(Channel& channel, uint32_t server, const std::vector<UniqueFd>& fds) {
  return channel.send(MessageKind::KEY_CHANNELS, 0, json_line({{"server", server}}), numbers(fds));
}

Result<KeyChannels> decode_key_channels(ChannelMessage message) {
  const auto json = object_of(message);
  if (!json) return std::unexpected(json.error());
  if (message.fds.empty() || message.fds.size() % 2 != 0) return fail("KEY_CHANNELS without pairs of descriptors");
  return KeyChannels{.server = static_cast<uint32_t>(json_number(*json, "server")), .fds = std::move(message.fds)};
}

std::string encode_key_breach(const KeyBreach& breach) {
  return json_line({{"server", breach.server}, {"what", breach.what}});
}

Result<KeyBreach> decode_key_breach(const ChannelMessage& message) {
  const auto json = object_of(message);
  if (!json) return std::unexpected(json.error());
  return KeyBreach{.server = static_cast<uint32_t>(json_number(*json, "server")), .what = json_text(*json, "what")};
}

}  // namespace penstock
