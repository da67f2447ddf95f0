// The public files of TLS, which the supervisor reads for servers that can open none; and the keys of session tickets,
// which are here so that they outlive every server.
#include "src/roles/supervisor_state.h"
#include "src/tls/certificate_bundle.h"
#include "src/tls/tickets.h"

#include <array>
#include <fcntl.h>
#include <set>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr Duration CERTIFICATES_EVERY = seconds(1);
constexpr off_t CERTIFICATE_BYTES_MAX = 1'048'576;

Result<std::string> read_whole(const std::string& path) {
  // Not waiting: a FIFO under that name must not hold the supervisor.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return fail_errno(path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno(path);
  if (!S_ISREG(info.st_mode)) return fail(path + ": is not a regular file");
  if (info.st_size > CERTIFICATE_BYTES_MAX) return fail(path + ": is larger than 1 MiB, no certificate is");
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  const ssize_t got = ::read(fd.get(), bytes.data(), bytes.size());
  if (got < 0) return fail_errno(path);
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

}  // namespace

Result<UniqueFd> Supervisor::read_certificates(const Settings& settings) {
  if (settings.server_listen_tls.empty()) return UniqueFd();
  std::set<std::string> paths;
  for (const SiteSettings& site : settings.sites)
    paths.insert(site.tls_certificate.begin(), site.tls_certificate.end());
  std::vector<BundleFile> files;
  for (const std::string& path : paths) {
    auto bytes = read_whole(path);
    if (!bytes) return std::unexpected(bytes.error());
    files.push_back({path, std::move(*bytes)});
  }
  return write_certificate_bundle(files);
}

// A look about once a second, as at applications' files: certificates may lie on any file system, behind links that are
// swapped. A state is tried when it was the same in two looks, so that no half of a file is read; a certificate that
// comes before its key is refused, and tried again when the key has come.
void Supervisor::look_at_certificates() {
  certificates_look_at_ = now_ + CERTIFICATES_EVERY;
  const Settings& settings = tree_.settings();
  if (settings.server_listen_tls.empty() || stopping_) return;
  std::string state;
  const auto add = [&state](const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) info = {};
    for (const auto part : {static_cast<uint64_t>(info.st_ino), static_cast<uint64_t>(info.st_size),
                            static_cast<uint64_t>(info.st_mtim.tv_sec), static_cast<uint64_t>(info.st_mtim.tv_nsec)}) {
      state.append(std::to_string(part)).append(" ");
    }
  };
  for (const SiteSettings& site : settings.sites) {
    for (const std::string& path : site.tls_certificate) add(path);
    for (const std::string& path : site.tls_key) add(path);
  }
  const bool still = state == certificates_seen_;
  certificates_seen_ = state;
  if (certificates_used_.empty()) certificates_used_ = state;  // what the server was started with
  if (!still || state == certificates_used_) return;
  certificates_used_ = state;
  ask_change({ChangeRequest::Kind::CERTIFICATES, {}, std::nullopt, "the certificates' files", 0});
}

std::string Supervisor::ticket_keys() {
  if (!ticket_keys_.empty()) return ticket_keys_;
  std::array<unsigned char, sizeof(TicketKey)> bytes;
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return "";
  constexpr char DIGITS[] = "0123456789abcdef";
  for (const unsigned char byte : bytes) (ticket_keys_ += DIGITS[byte >> 4]) += DIGITS[byte & 15];
  return ticket_keys_;
}

}  // namespace penstock
