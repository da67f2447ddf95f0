// The payload of HELLO and CONFIG is one line of JSON, a newline, and the config text as it is (so that no byte of it
// is changed by JSON's rules). The JSON says which descriptor is what, by its index in the message.
#include "src/admin/role_messages.h"

#include "src/admin/json.h"

#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

// Collects descriptors while the JSON is written; -1 stands for "none".
class FdList {
 public:
  int64_t add(const UniqueFd& fd) {
    if (!fd.valid()) return -1;
    fds_.push_back(fd.get());
    return static_cast<int64_t>(fds_.size()) - 1;
  }
  [[nodiscard]] const std::vector<int>& fds() const { return fds_; }

 private:
  std::vector<int> fds_;
};

// Hands the message's descriptors out, each at most once.
class FdTable {
 public:
  explicit FdTable(std::vector<UniqueFd> fds) : fds_(std::move(fds)) {}
  // False: the index is not one of the message, or was taken before. -1 leaves `out` empty.
  [[nodiscard]] bool take(const Json& index, UniqueFd& out) {
    if (!index.is_number_integer()) return false;
    const auto i = index.get<int64_t>();
    if (i == -1) return true;
    if (i < 0 || static_cast<size_t>(i) >= fds_.size() || !fds_[static_cast<size_t>(i)].valid()) return false;
    out = std::move(fds_[static_cast<size_t>(i)]);
    return true;
  }
  [[nodiscard]] bool all_taken() const {
    for (const UniqueFd& fd : fds_) {
      if (fd.valid()) return false;
    }
    return true;
  }

 private:
  std::vector<UniqueFd> fds_;
};

Json encode_fds(const std::vector<UniqueFd>& from, FdList& fds) {
  Json out = Json::array();
  for (const UniqueFd& fd : from) out.push_back(fds.add(fd));
  return out;
}

Status decode_fds(const Json& head, const char* name, FdTable& fds, std::vector<UniqueFd>& out) {
  for (const Json& index : json_array(head, name)) {
    UniqueFd fd;
    if (!fds.take(index, fd) || !fd.valid()) return fail(std::string(name) + " without a descriptor");
    out.push_back(std::move(fd));
  }
  return {};
}

Json encode_listeners(const std::vector<RoleListener>& listeners, FdList& fds) {
  Json out = Json::array();
  for (const RoleListener& l : listeners) {
    out.push_back({{"id", l.id},
                   {"reactor", l.reactor},
                   {"address", l.address},
                   {"unix", l.is_unix},
                   {"tls", l.tls},
                   {"fd", fds.add(l.fd)}});
  }
  return out;
}

Status decode_listeners(const Json& head, FdTable& fds, bool need_fd, std::vector<RoleListener>& out) {
  for (const Json& item : json_array(head, "listeners")) {
    RoleListener l;
    l.id = static_cast<uint32_t>(json_number(item, "id"));
    const auto reactor = item.is_object() ? item.find("reactor") : item.end();
    if (!item.is_object() || reactor == item.end() || !reactor->is_number_integer()) {
      return fail("listener without reactor");
    }
    l.reactor = reactor->get<int32_t>();
    l.address = json_text(item, "address");
    l.is_unix = json_flag(item, "unix");
    l.tls = json_flag(item, "tls");
    if (!item.contains("fd") || !fds.take(item["fd"], l.fd) || (need_fd && !l.fd.valid())) {
      return fail("listener " + l.address + " without its descriptor");
    }
    out.push_back(std::move(l));
  }
  return {};
}

// Parts the head line from the config text.
Result<Json> split_head(std::string_view payload, std::string& config_text) {
  const size_t eol = payload.find('\n');
  if (eol == std::string_view::npos) return fail("message without config text");
  auto head = parse_json(payload.substr(0, eol));
  if (!head || !head->is_object()) return fail("message head is not a JSON object");
  config_text.assign(payload.substr(eol + 1));
  return std::move(*head);
}

}  // namespace

Status send_start(Channel& channel, const RoleStart& start) {
  FdList fds;
  const Json head = {{"role", start.role},
                     {"generation", start.generation},
                     {"reactors", start.reactors},
                     {"server_epoch", start.server_epoch},
                     {"as_root", start.as_root},
                     {"uid", start.uid},
                     {"gid", start.gid},
                     {"identity", start.identity_name},
                     {"listeners", encode_listeners(start.listeners, fds)},
                     {"journals", encode_fds(start.journals, fds)},
                     {"key_channels", encode_fds(start.key_channels, fds)},
                     {"doorbell", fds.add(start.doorbell)},
                     {"certificates", fds.add(start.certificates)},
                     {"kernel_tap", fds.add(start.kernel_tap)},
                     {"port_heard_by_two", start.port_heard_by_two},
                     {"connections", fds.add(start.connections)},
                     {"place", start.place},
                     {"tickets", start.ticket_keys},
                     {"new_certificates", start.certificates_are_new}};
  return channel.send(MessageKind::HELLO, 0, json_line(head) + "\n" + start.config_text, fds.fds());
}

Result<RoleStart> decode_start(ChannelMessage message) {
  if (message.kind != MessageKind::HELLO) return fail("first message is not HELLO");
  RoleStart start;
  const auto head = split_head(message.payload, start.config_text);
  if (!head) return std::unexpected(head.error());
  FdTable fds(std::move(message.fds));
  start.role = json_text(*head, "role");
  if (start.role != "server" && start.role != "logd" && start.role != "keyd")
    return fail("HELLO for unknown role '" + start.role + "'");
  start.generation = json_number(*head, "generation");
  start.reactors = static_cast<uint32_t>(json_number(*head, "reactors", 1));
  start.server_epoch = static_cast<uint32_t>(json_number(*head, "server_epoch"));
  start.as_root = json_flag(*head, "as_root");
  start.uid = static_cast<uint32_t>(json_number(*head, "uid"));
  start.gid = static_cast<uint32_t>(json_number(*head, "gid"));
  start.identity_name = json_text(*head, "identity");
  if (start.as_root && (start.uid == 0 || start.gid == 0)) return fail("HELLO would leave the role root");
  if (const Status ok = decode_listeners(*head, fds, true, start.listeners); !ok) return std::unexpected(ok.error());
  Status taken = decode_fds(*head, "journals", fds, start.journals);
  if (taken) taken = decode_fds(*head, "key_channels", fds, start.key_channels);
  if (!taken) return std::unexpected(taken.error());
  if (!fds.take(head->value("doorbell", Json(-1)), start.doorbell)) return fail("bad doorbell descriptor");
  if (!fds.take(head->value("certificates", Json(-1)), start.certificates))
    return fail("bad descriptor of certificates");
  if (!fds.take(head->value("kernel_tap", Json(-1)), start.kernel_tap))
    return fail("bad descriptor of the kernel's end");
  if (!fds.take(head->value("connections", Json(-1)), start.connections))
    return fail("bad descriptor of the counts of connections");
  start.port_heard_by_two = json_flag(*head, "port_heard_by_two");
  start.place = static_cast<uint32_t>(json_number(*head, "place"));
  start.ticket_keys = json_text(*head, "tickets");
  start.certificates_are_new = json_flag(*head, "new_certificates");
  if (!fds.all_taken()) return fail("HELLO with a descriptor nobody named");
  return start;
}

Status send_config(Channel& channel, uint32_t id, const RoleConfig& config) {
  FdList fds;
  const Json head = {{"generation", config.generation},
                     {"listeners", encode_listeners(config.listeners, fds)},
                     {"certificates", fds.add(config.certificates)}};
  return channel.send(MessageKind::CONFIG, id, json_line(head) + "\n" + config.config_text, fds.fds());
}

Result<RoleConfig> decode_config(ChannelMessage message) {
  if (message.kind != MessageKind::CONFIG) return fail("message is not CONFIG");
  RoleConfig config;
  const auto head = split_head(message.payload, config.config_text);
  if (!head) return std::unexpected(head.error());
  FdTable fds(std::move(message.fds));
  config.generation = json_number(*head, "generation");
  if (const Status ok = decode_listeners(*head, fds, false, config.listeners); !ok) return std::unexpected(ok.error());
  if (!fds.take(head->value("certificates", Json(-1)), config.certificates))
    return fail("bad descriptor of certificates");
  if (!fds.all_taken()) return fail("CONFIG with a descriptor nobody named");
  return config;
}

std::string encode_ready(const ReadyReport& report) {
  Json steps = Json::array();
  for (const ReadyStep& step : report.sandbox) {
    steps.push_back({{"name", step.name}, {"holds", step.holds}, {"detail", step.detail}});
  }
  return json_line({{"transport", report.transport}, {"sandbox", steps}});
}

Result<ReadyReport> decode_ready(std::string_view payload) {
  const auto json = parse_json(payload);
  if (!json || !json->is_object()) return fail("READY is not a JSON object");
  ReadyReport report;
  report.transport = json_text(*json, "transport");
  for (const Json& step : json_array(*json, "sandbox")) {
    report.sandbox.push_back({json_text(step, "name"), json_flag(step, "holds"), json_text(step, "detail")});
  }
  return report;
}

}  // namespace penstock
