// The public files of TLS, which the supervisor reads for servers that can open none; and the keys of session tickets,
// which are here so that they outlive every server.
#include "src/roles/supervisor_state.h"
#include "src/tls/certificate_bundle.h"

#include <fcntl.h>
#include <map>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr Duration CERTIFICATES_EVERY = seconds(1);
constexpr off_t CERTIFICATE_BYTES_MAX = 1'048'576;
constexpr off_t REVOCATIONS_BYTES_MAX = 64 * CERTIFICATE_BYTES_MAX;

Result<std::string> read_whole(const std::string& path, off_t bytes_max) {
  // Not waiting: a FIFO under that name must not hold the supervisor.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return fail_errno(path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno(path);
  if (!S_ISREG(info.st_mode)) return fail(path + ": is not a regular file");
  if (info.st_size > bytes_max) {
    return fail(path + ": is larger than " + std::to_string(bytes_max >> 20) + " MiB, which nothing of its kind is");
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  const ssize_t got = ::read(fd.get(), bytes.data(), bytes.size());
  if (got < 0) return fail_errno(path);
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

// Which file it is and in what state, without a look into it.
std::string identity_of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) info = {};
  std::string text;
  for (const auto part : {static_cast<uint64_t>(info.st_ino), static_cast<uint64_t>(info.st_size),
                          static_cast<uint64_t>(info.st_mtim.tv_sec), static_cast<uint64_t>(info.st_mtim.tv_nsec)}) {
    text.append(std::to_string(part)).append(" ");
  }
  return text;
}

}  // namespace

// Files that are in force already are taken from there, unless `fresh`: what became of them on the disk is tried by
// itself (look_at_certificates), and hinders neither another change nor a new server.
Result<UniqueFd> Supervisor::read_certificates(const Settings& settings, bool fresh) {
  if (settings.server_listen_tls.empty()) return UniqueFd();
  const auto read = [&](const std::string& path, off_t bytes_max) -> Result<std::string> {
    std::string_view kept;
    if (!fresh && certificates_kept_ != nullptr && certificates_kept_->find(path, kept)) return std::string(kept);
    return read_whole(path, bytes_max);
  };
  std::map<std::string, off_t> paths;  // to what is read of each at most
  for (const SiteSettings& site : settings.sites) {
    for (const std::string& path : site.tls_certificate) paths.emplace(path, CERTIFICATE_BYTES_MAX);
    if (site.tls_client == ClientCertificateSetting::OFF) continue;
    for (const std::string& path : site.tls_client_ca) paths.emplace(path, CERTIFICATE_BYTES_MAX);
    for (const std::string& path : site.tls_client_crl) paths[path] = REVOCATIONS_BYTES_MAX;
  }
  std::vector<BundleFile> files;
  for (const auto& [path, bytes_max] : paths) {
    auto bytes = read(path, bytes_max);
    if (!bytes) return std::unexpected(bytes.error());
    files.push_back({path, std::move(*bytes)});
  }
  for (const SiteSettings& site : settings.sites) {
    for (const std::string& path : site.tls_ocsp) {
      if (!paths.emplace(path, CERTIFICATE_BYTES_MAX).second) continue;
      auto bytes = read(path, CERTIFICATE_BYTES_MAX);
      if (bytes) files.push_back({path, std::move(*bytes)});  // a server tells of what it has not got, and serves
    }
  }
  // A server that has the pair already cannot see that its key was replaced: it is told what the key's file is.
  for (const SiteSettings& site : settings.sites) {
    for (const std::string& path : site.tls_key) {
      std::string_view kept;
      const bool known = !fresh && certificates_kept_ != nullptr && certificates_kept_->find(path, kept);
      if (paths.emplace(path, 0).second) files.push_back({path, known ? std::string(kept) : identity_of(path)});
    }
  }
  return write_certificate_bundle(files);
}

// A look about once a second, as at applications' files: certificates may lie on any file system, behind links that are
// swapped. A state is tried when it was the same in two looks, so that no half of a file is read; a certificate that
// comes before its key is refused, and tried again when the key has come.
void Supervisor::look_at_certificates() {
  certificates_look_at_ = now_ + CERTIFICATES_EVERY;
  if (certificates_kept_ != nullptr && ready("server") == nullptr) return;  // nobody is there to try them on
  const Settings& settings = tree_.settings();
  if (settings.server_listen_tls.empty() || stopping_) return;
  std::string state;
  const auto add = [&state](const std::string& path) { state += identity_of(path); };
  for (const SiteSettings& site : settings.sites) {
    for (const std::string& path : site.tls_certificate) add(path);
    for (const std::string& path : site.tls_key) add(path);
    for (const std::string& path : site.tls_ocsp) add(path);
    for (const std::string& path : site.tls_client_ca) add(path);
    for (const std::string& path : site.tls_client_crl) add(path);
  }
  const bool still = state == certificates_seen_;
  certificates_seen_ = state;
  if (certificates_used_.empty()) certificates_used_ = state;  // what the server was started with
  if (!still || state == certificates_used_) return;
  certificates_used_ = state;
  ask_change({ChangeRequest::Kind::CERTIFICATES, {}, std::nullopt, "the certificates' files", 0});
}

// A server has them in force.
void Supervisor::keep_certificates(UniqueFd bundle) {
  certificates_kept_.reset();
  certificates_kept_fd_ = std::move(bundle);
  if (!certificates_kept_fd_.valid()) return;
  if (auto opened = CertificateBundle::open(certificates_kept_fd_.get())) certificates_kept_ = std::move(*opened);
}

// Each turn; and before a server is started, which is given what is there then.
void Supervisor::turn_tickets(const Settings& settings) {
  bool changed = false;
  if (!settings.tls_tickets_enable) {
    changed = tickets_.clear();
  } else {
    const auto turned = tickets_.turn(now_, settings.tls_tickets_rotate, settings.tls_tickets_lifetime);
    if (!turned) return log_.error(turned.error().message);
    changed = *turned;
  }
  if (!changed) return;
  const std::string keys = tickets_.text();
  for (const auto& role : roles_) {
    if (role->role != "server" || !role->channel.open()) continue;
    const Status ok = role->channel.send(MessageKind::TICKET_KEYS, 0, keys);
    if (!ok) kill_role(*role, ok.error().message);
  }
}

}  // namespace penstock
