#include "src/tls/key_request.h"

#include "src/tls/key_scheme.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace penstock {
namespace {

constexpr size_t PAD_BYTES = 64;  // of TLS 1.3
constexpr std::string_view CONTEXT("TLS 1.3, server CertificateVerify\0", 34);
constexpr size_t RANDOM_BYTES = 64;  // the client's and the server's, of TLS 1.2
constexpr unsigned char NAMED_CURVE = 3;
constexpr unsigned char UNCOMPRESSED = 4;

struct Curve {
  unsigned number;
  size_t point_bytes;
  bool uncompressed;
};
constexpr Curve CURVES[] = {{23, 65, true}, {24, 97, true}, {25, 133, true}, {29, 32, false}, {30, 56, false}};

bool is_tls13(std::span<const unsigned char> content) {
  const size_t head = PAD_BYTES + CONTEXT.size();
  if (content.size() != head + 32 && content.size() != head + 48) return false;
  const auto pad = content.first(PAD_BYTES);
  return std::ranges::all_of(pad, [](unsigned char byte) { return byte == 0x20; }) &&
         std::memcmp(content.data() + PAD_BYTES, CONTEXT.data(), CONTEXT.size()) == 0;
}

bool is_tls12(std::span<const unsigned char> content) {
  if (content.size() < RANDOM_BYTES + 5) return false;
  const auto parameters = content.subspan(RANDOM_BYTES);
  const unsigned number = unsigned{parameters[1]} << 8 | parameters[2];
  const auto* curve = std::ranges::find(CURVES, number, &Curve::number);
  return parameters[0] == NAMED_CURVE && curve != std::end(CURVES) && parameters[3] == curve->point_bytes &&
         parameters.size() == 4 + curve->point_bytes && (!curve->uncompressed || parameters[4] == UNCOMPRESSED);
}

}  // namespace

KeyContent key_content(std::span<const unsigned char> content) {
  if (is_tls13(content)) return KeyContent::TLS13;
  return is_tls12(content) ? KeyContent::TLS12 : KeyContent::NONE;
}

const char* key_request_breach(const KeyRequest& request) {
  if (request.reserved != 0 || request.content_bytes > KEY_CONTENT_MAX) return "sent a request that makes no sense";
  if (request.order == KeyOrder::PROBE) {
    const bool empty = request.scheme == 0 && request.content_bytes == 0;
    return empty ? nullptr : "asked for a key and for a signature at once";
  }
  if (request.order != KeyOrder::SIGN) return "gave an order that does not exist";
  const KeyScheme* scheme = find_key_scheme(request.scheme);
  if (scheme == nullptr) return "asked for a signature scheme that is not served";
  const KeyContent content = key_content({request.content, request.content_bytes});
  if (content == KeyContent::NONE) return "asked to sign what is no handshake of a TLS server";
  if (content == KeyContent::TLS13 && scheme->kind == KeyKind::RSA && !scheme->pss) {
    return "asked for a signature that TLS 1.3 has not";
  }
  return nullptr;
}

}  // namespace penstock
