// keyd as the supervisor sees it: when it runs, which servers it signs for, which files it may read.
//
// It runs while the configuration in force, or the one that is being tried, names a key file. Every server has channels
// to it from its start on, which cost nothing until they are used; so TLS can be configured into a running server, and
// a keyd that died is replaced without the server noticing: what it had not signed lies in the channels still. The
// supervisor opens key files and never reads one. It keeps what keyd was given, as the kernel copied it, so that a new
// keyd gets the key that belongs to the certificates in force whatever became of the file.
#include "src/admin/key_messages.h"
#include "src/admin/role_paths.h"
#include "src/roles/supervisor_state.h"
#include "src/tls/key_channel.h"
#include "src/tls/key_store.h"

#include <algorithm>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <utility>

namespace penstock {
namespace {

using RoleState = RoleProcess::State;

constexpr Duration KEYD_END = seconds(1);  // it has nothing to finish
constexpr size_t KEYS_KEPT_MAX = 512;      // each a descriptor and a page; of more, what lies on the disk has to do

// The bytes of a key file as they are now, which nobody can change any more: what is written into the file later does
// not reach them. Sealed memory that no process maps; the kernel copies, so nothing of it comes into this process.
Result<UniqueFd> seal_key_file(const UniqueFd& from, const struct stat& info) {
  UniqueFd copy(::memfd_create("penstock-key", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!copy.valid()) return fail_errno("memory for a key file");
  size_t left = KeyStore::FILE_BYTES_MAX + 1;  // keyd refuses what is longer
  while (left > 0) {
    const ssize_t n = ::sendfile(copy.get(), from.get(), nullptr, left);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read");
    if (n == 0) break;
    left -= static_cast<size_t>(n);
  }
  constexpr int SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  // The mode goes along: keyd tells of a file that is open to others.
  if (::fchmod(copy.get(), info.st_mode & 07777) != 0 || ::fcntl(copy.get(), F_ADD_SEALS, SEALS) != 0) {
    return fail_errno("seal a key file's copy");
  }
  return copy;
}

KeyFile open_key_file(const std::string& path) {
  KeyFile file{.file = path};
  // Not waiting: a FIFO under that name must not hold the supervisor.
  file.fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!file.fd.valid()) {
    file.problem = fail_errno("open").error().message;
    return file;
  }
  struct stat info {};
  if (::fstat(file.fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    file.fd.reset();
    file.problem = "it is not a regular file";
    return file;
  }
  auto copy = seal_key_file(file.fd, info);
  if (copy) {
    file.fd = std::move(*copy);
  } else {
    file.fd.reset();
    file.problem = copy.error().message;
  }
  return file;
}

}  // namespace

UniqueFd Supervisor::duplicate(const UniqueFd& fd) {
  return UniqueFd(fd.valid() ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3) : -1);
}

Status Supervisor::give_key_channels(RoleProcess& server, RoleStart& start) const {
  for (uint32_t i = 0; i < reactors_ + 1; ++i) {
    auto ends = create_key_channel();
    if (!ends) return std::unexpected(ends.error());
    start.key_channels.push_back(duplicate(ends->memory));
    start.key_channels.push_back(std::move(ends->bed));
    server.key_channels.push_back(std::move(ends->memory));
    server.key_channels.push_back(std::move(ends->bell));
  }
  return {};
}

Status Supervisor::spawn_keyd() {
  RoleStart start;
  start.role = "keyd";
  start.generation = tree_.generation();
  if (Status ok = give_identity(start, tree_.settings().tls_user); !ok) return ok;
  auto process = RoleProcess::spawn(environment_.executable, "keyd", next_serial_++, now_);
  if (!process) return std::unexpected(process.error());
  return adopt(std::move(*process), start);
}

std::vector<std::string> Supervisor::wanted_key_files() const {
  std::vector<std::string> files = key_files(tree_.settings());
  if (change_ && !change_->listeners_taken) {
    for (std::string& file : key_files(change_->next.settings())) files.push_back(std::move(file));
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
  }
  return files;
}

// Brings keyd in line with the configuration in force and the one that is tried.
void Supervisor::sync_keyd() {
  if (stopping_) return;
  std::vector<std::string> files = wanted_key_files();
  const bool same = files == key_files_;
  key_files_ = std::move(files);
  RoleProcess* keyd = ready("keyd");
  if (keyd != nullptr) {
    if (key_files_.empty()) return drain(*keyd, KEYD_END);
    if (same) return;
    if (const Status ok = send_key_files(keyd->channel, key_files_); !ok) kill_role(*keyd, ok.error().message);
    return;
  }
  const bool coming = starting("keyd") != nullptr || keyd_record_.restart_at != MonoTime::never();
  if (key_files_.empty() || coming) return;
  if (const Status ok = spawn_keyd(); !ok) {
    log_.error(ok.error().message);
    restart_later("keyd", now_);
  }
}

void Supervisor::keyd_ready(RoleProcess& keyd) {
  Status ok = send_key_files(keyd.channel, key_files_);
  for (const auto& role : roles_) {
    if (ok && role->role == "server") ok = send_key_channels(keyd.channel, role->serial, role->key_channels);
  }
  if (!ok) return kill_role(keyd, ok.error().message);
  if (key_files_.empty()) drain(keyd, KEYD_END);  // the change that wanted it was refused meanwhile
}

void Supervisor::keyd_meets(const RoleProcess& server) {
  RoleProcess* keyd = ready("keyd");
  if (keyd == nullptr) return;
  const Status ok = send_key_channels(keyd->channel, server.serial, server.key_channels);
  if (!ok) kill_role(*keyd, ok.error().message);
}

void Supervisor::keyd_leaves(uint32_t serial) {
  RoleProcess* keyd = ready("keyd");
  if (keyd == nullptr) return;
  const Status ok = keyd->channel.send(MessageKind::KEY_CHANNELS_GONE, 0, std::to_string(serial));
  if (!ok) kill_role(*keyd, ok.error().message);
}

void Supervisor::keyd_ended(bool expected) {
  if (expected && !key_files_.empty()) sync_keyd();  // it was told to end, and is wanted again
}

// What keyd gets for a path. While a change is tried the file as it lies there beside the one that belongs to the
// certificates in force; else that one alone, for the other may be what was no good.
KeyFile Supervisor::key_file(const std::string& path) {
  // It asks for what it was told of; a path that went away meanwhile is no fault.
  if (!std::binary_search(key_files_.begin(), key_files_.end(), path)) {
    return {.file = path, .problem = "it is not in the configuration any more"};
  }
  const bool trying = change_ && !change_->listeners_taken;
  const auto kept = keys_kept_.find(path);
  if (!trying && kept != keys_kept_.end()) {
    KeyFile again{.file = path, .fd = duplicate(kept->second)};
    if (!again.fd.valid()) again.problem = fail_errno("copy a descriptor").error().message;
    return again;
  }
  KeyFile file = open_key_file(path);
  if (kept != keys_kept_.end()) file.kept = duplicate(kept->second);
  std::map<std::string, UniqueFd>& keep = trying ? change_->keys : keys_kept_;
  if (!file.fd.valid() || (keep.size() >= KEYS_KEPT_MAX && !keep.contains(path))) return file;
  if (UniqueFd mine = duplicate(file.fd); mine.valid()) keep.insert_or_assign(path, std::move(mine));
  return file;
}

// The change that was tried is in force, and so are the files that it was tried with.
void Supervisor::keep_keys() {
  const bool renewed = change_->request.kind == ChangeRequest::Kind::CERTIFICATES;
  for (auto& [path, fd] : change_->keys) {
    if (!renewed && keys_kept_.contains(path)) continue;  // asked for anew, for the pair that was in force already
    if (keys_kept_.size() < KEYS_KEPT_MAX || keys_kept_.contains(path))
      keys_kept_.insert_or_assign(path, std::move(fd));
  }
  const std::vector<std::string> named = key_files(tree_.settings());
  std::erase_if(keys_kept_,
                [&](const auto& one) { return !std::binary_search(named.begin(), named.end(), one.first); });
}

void Supervisor::take_key_message(RoleProcess& role, const ChannelMessage& message) {
  if (role.role != "keyd") return kill_role(role, "it said what only the key process may say");
  if (message.kind == MessageKind::KEY_BREACH) {
    const auto breach = decode_key_breach(message);
    if (!breach) return kill_role(role, "it broke the protocol (" + breach.error().message + ")");
    RoleProcess* server = find(breach->server);
    if (server != nullptr && server->role == "server") {
      kill_role(*server, "it " + escape_line(breach->what, 200) + ", which the key process refuses");
    }
    return;
  }
  const KeyFile file = key_file(message.payload);
  if (const Status ok = send_key_file(role.channel, file); !ok) kill_role(role, ok.error().message);
}

}  // namespace penstock
