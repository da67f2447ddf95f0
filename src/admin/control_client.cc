#include "src/admin/control_client.h"

#include "src/admin/unix_socket.h"

#include <array>
#include <cerrno>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr size_t ANSWER_BYTES_MAX = 256UL * 1024 * 1024;

Status send_all(int fd, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    // A refusal is answered and closed before the request was read: the answer still waits to be read.
    if (n < 0 && errno == EPIPE) return {};
    if (n < 0) return fail_errno("send to penstock");
    done += static_cast<size_t>(n);
  }
  return {};
}

Result<std::string> receive_line(int fd) {
  std::string text;
  std::array<char, 64 * 1024> chunk;
  while (text.size() < ANSWER_BYTES_MAX) {
    const ssize_t n = ::recv(fd, chunk.data(), chunk.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return fail("penstock did not answer in time", ETIMEDOUT);
    if (n < 0 && !(errno == ECONNRESET && !text.empty())) return fail_errno("read from penstock");
    if (n <= 0) break;
    text.append(chunk.data(), static_cast<size_t>(n));
    if (text.back() == '\n') break;
  }
  if (text.empty()) return fail("penstock closed the connection without an answer", ECONNRESET);
  return text;
}

}  // namespace

Result<Json> control_call(const std::string& path, const Json& request, Duration timeout) {
  const auto fd = connect_unix(path);
  if (!fd) return std::unexpected(fd.error());
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(fd->get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return fail_errno("SO_PEERCRED");
  if (peer.uid != 0 && peer.uid != ::geteuid() && ::geteuid() != 0) {
    return fail(path + " belongs to user " + std::to_string(peer.uid) + ", who is not you", EPERM);
  }
  const timeval wait{timeout.s(), timeout.us() % 1'000'000};
  ::setsockopt(fd->get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  ::setsockopt(fd->get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (Status ok = send_all(fd->get(), json_line(request) + "\n"); !ok) return std::unexpected(ok.error());
  const auto line = receive_line(fd->get());
  if (!line) return std::unexpected(line.error());
  auto answer = parse_json(*line);
  if (!answer || !answer->is_object() || !answer->contains("ok")) return fail("penstock's answer makes no sense");
  return std::move(*answer);
}

}  // namespace penstock
