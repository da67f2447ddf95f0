#include "src/transport/proxy_header.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <optional>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr std::string_view SIGNATURE_1 = "PROXY ";
constexpr std::string_view SIGNATURE_2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t LINE_BYTES_MAX = 107;
constexpr size_t FIXED_BYTES_2 = 16;
constexpr size_t UNIX_BYTES_2 = 216;

uint32_t byte_at(std::string_view bytes, size_t at) { return static_cast<unsigned char>(bytes[at]); }

PeerAddress unmapped(PeerAddress address) {
  constexpr std::array<uint8_t, 12> MAPPED = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.family != AF_INET6 || !std::equal(MAPPED.begin(), MAPPED.end(), address.ip)) return address;
  address.family = AF_INET;
  std::copy_n(address.ip + 12, 4, address.ip);
  std::fill(address.ip + 4, address.ip + 16, uint8_t{0});
  return address;
}

// --- version 1 ------------------------------------------------------------------------------

std::string_view take_word(std::string_view& line) {
  const size_t space = line.find(' ');
  const std::string_view word = line.substr(0, space);
  line = space == std::string_view::npos ? std::string_view{} : line.substr(space + 1);
  return word;
}

bool read_ip(std::string_view word, int family, PeerAddress& address) {
  char terminated[INET6_ADDRSTRLEN];
  if (word.size() >= sizeof terminated || word.find('\0') != std::string_view::npos) return false;
  *std::ranges::copy(word, terminated).out = '\0';
  address.family = static_cast<uint8_t>(family);
  return ::inet_pton(family, terminated, address.ip) == 1;
}

bool read_port(std::string_view word, PeerAddress& address) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), address.port);
  return error == std::errc() && end == word.data() + word.size() && (word.size() == 1 || word.front() != '0');
}

ProxyState parse_line(std::string_view bytes, ProxyHeader& header) {
  const size_t end = bytes.substr(0, LINE_BYTES_MAX).find('\n');
  if (end == std::string_view::npos) return bytes.size() < LINE_BYTES_MAX ? ProxyState::NEED_MORE : ProxyState::BAD;
  if (bytes[end - 1] != '\r') return ProxyState::BAD;
  header.bytes = end + 1;
  std::string_view line = bytes.substr(SIGNATURE_1.size(), end - 1 - SIGNATURE_1.size());
  const std::string_view protocol = take_word(line);
  if (protocol == "UNKNOWN") return ProxyState::DONE;  // what follows is to be ignored
  const int family = protocol == "TCP4" ? AF_INET : AF_INET6;
  if (family == AF_INET6 && protocol != "TCP6") return ProxyState::BAD;
  const bool good = read_ip(take_word(line), family, header.client) &&
                    read_ip(take_word(line), family, header.server) && read_port(take_word(line), header.client) &&
                    read_port(line, header.server);
  header.says = good;
  return good ? ProxyState::DONE : ProxyState::BAD;
}

// --- version 2 ------------------------------------------------------------------------------

PeerAddress address_at(std::string_view block, int family, size_t ip_at, size_t port_at) {
  PeerAddress address;
  address.family = static_cast<uint8_t>(family);
  address.port = static_cast<uint16_t>(byte_at(block, port_at) << 8 | byte_at(block, port_at + 1));
  std::copy_n(block.data() + ip_at, family == AF_INET ? 4 : 16, address.ip);
  return address;
}

ProxyState parse_binary(std::string_view bytes, ProxyHeader& header) {
  if (bytes.size() < FIXED_BYTES_2) return ProxyState::NEED_MORE;
  const uint32_t version_and_command = byte_at(bytes, 12);
  const uint32_t family_and_protocol = byte_at(bytes, 13);
  const size_t length = byte_at(bytes, 14) << 8 | byte_at(bytes, 15);
  if (version_and_command >> 4 != 2 || (version_and_command & 15) > 1) return ProxyState::BAD;
  if (FIXED_BYTES_2 + length > PROXY_HEADER_BYTES_MAX) return ProxyState::BAD;
  if (bytes.size() < FIXED_BYTES_2 + length) return ProxyState::NEED_MORE;
  header.bytes = FIXED_BYTES_2 + length;
  const bool is_local = (version_and_command & 15) == 0;
  if (is_local || family_and_protocol == 0x00) return ProxyState::DONE;
  const std::string_view block = bytes.substr(FIXED_BYTES_2, length);
  switch (family_and_protocol) {
    case 0x11:
      if (length < 12) return ProxyState::BAD;
      header.client = address_at(block, AF_INET, 0, 8);
      header.server = address_at(block, AF_INET, 4, 10);
      break;
    case 0x21:
      if (length < 36) return ProxyState::BAD;
      header.client = address_at(block, AF_INET6, 0, 32);
      header.server = address_at(block, AF_INET6, 16, 34);
      break;
    case 0x31:
      if (length < UNIX_BYTES_2) return ProxyState::BAD;
      header.client.family = header.server.family = AF_UNIX;
      break;
    default:
      return ProxyState::BAD;  // no stream, or nothing that is known
  }
  header.says = true;
  return ProxyState::DONE;
}

}  // namespace

ProxyState parse_proxy_header(std::string_view bytes, ProxyHeader& header) {
  header = ProxyHeader{};
  const auto begins = [bytes](std::string_view signature) {
    const size_t seen = std::min(bytes.size(), signature.size());
    return bytes.substr(0, seen) == signature.substr(0, seen);
  };
  ProxyState state = ProxyState::BAD;
  if (begins(SIGNATURE_1)) {
    state = bytes.size() < SIGNATURE_1.size() ? ProxyState::NEED_MORE : parse_line(bytes, header);
  } else if (begins(SIGNATURE_2)) {
    state = bytes.size() < SIGNATURE_2.size() ? ProxyState::NEED_MORE : parse_binary(bytes, header);
  }
  header.client = unmapped(header.client);
  header.server = unmapped(header.server);
  return state;
}

}  // namespace penstock
