#include "tests/support/fake_kernel_tls.h"

#include "src/base/assert.h"

#include <algorithm>
#include <cstring>
#include <linux/tls.h>
#include <memory>
#include <openssl/evp.h>
#include <unistd.h>

namespace penstock::test {
namespace {

constexpr size_t RECORD_MAX = 16'384;
constexpr uint8_t APPLICATION_DATA = 23;

// Where the parts of a tls12_crypto_info_… lie.
struct Layout {
  const EVP_CIPHER* cipher;
  size_t iv, iv_bytes, key, salt, salt_bytes, sequence, size;
};

template <typename Info>
Layout layout_of(const EVP_CIPHER* cipher) {
  return {.cipher = cipher,
          .iv = offsetof(Info, iv),
          .iv_bytes = sizeof(Info::iv),
          .key = offsetof(Info, key),
          .salt = offsetof(Info, salt),
          .salt_bytes = sizeof(Info::salt),
          .sequence = offsetof(Info, rec_seq),
          .size = sizeof(Info)};
}

// Nullptr cipher: not one that the kernel takes.
Layout find_layout(std::string_view info) {
  tls_crypto_info head{};
  if (info.size() < sizeof head) return {};
  std::memcpy(&head, info.data(), sizeof head);
  if (head.version != TLS_1_2_VERSION && head.version != TLS_1_3_VERSION) return {};
  Layout found{};
  if (head.cipher_type == TLS_CIPHER_AES_GCM_128) found = layout_of<tls12_crypto_info_aes_gcm_128>(EVP_aes_128_gcm());
  if (head.cipher_type == TLS_CIPHER_AES_GCM_256) found = layout_of<tls12_crypto_info_aes_gcm_256>(EVP_aes_256_gcm());
  if (head.cipher_type == TLS_CIPHER_CHACHA20_POLY1305) {
    found = layout_of<tls12_crypto_info_chacha20_poly1305>(EVP_chacha20_poly1305());
  }
  return info.size() == found.size ? found : Layout{};
}

void count_up(std::string& info, size_t at, size_t bytes) {
  for (size_t i = at + bytes; i-- > at;) {
    if (++info[i] != 0) return;
  }
}

std::string record_head(uint8_t type, size_t size) {
  return {static_cast<char>(type), 3, 3, static_cast<char>(size >> 8), static_cast<char>(size)};
}

}  // namespace

std::string seal_like_kernel(std::string& info, uint8_t type, std::string_view plain) {
  const Layout layout = find_layout(info);
  ASSERT(layout.cipher != nullptr && plain.size() <= RECORD_MAX);
  tls_crypto_info head{};
  std::memcpy(&head, info.data(), sizeof head);
  const bool is_1_3 = head.version == TLS_1_3_VERSION;
  const bool told = !is_1_3 && layout.salt_bytes > 0;
  const std::string sequence = info.substr(layout.sequence, 8);
  std::string nonce = info.substr(layout.salt, layout.salt_bytes) + info.substr(layout.iv, layout.iv_bytes);
  for (size_t i = 0; i < 8 && !told; ++i) nonce[4 + i] = static_cast<char>(nonce[4 + i] ^ sequence[i]);
  std::string text(plain);
  if (is_1_3) text += static_cast<char>(type);
  const std::string explicit_nonce = told ? nonce.substr(4) : "";
  std::string record =
      record_head(is_1_3 ? APPLICATION_DATA : type, explicit_nonce.size() + text.size() + EVP_GCM_TLS_TAG_LEN);
  const std::string beside = is_1_3 ? record : sequence + record_head(type, plain.size());
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> cipher(EVP_CIPHER_CTX_new(),
                                                                               EVP_CIPHER_CTX_free);
  const auto bytes = [](const std::string& of) { return reinterpret_cast<const unsigned char*>(of.data()); };
  std::string sealed(text.size() + EVP_GCM_TLS_TAG_LEN, '\0');
  auto* const out = reinterpret_cast<unsigned char*>(sealed.data());
  int size = 0;
  ASSERT(EVP_EncryptInit_ex(cipher.get(), layout.cipher, nullptr, bytes(info) + layout.key, bytes(nonce)) == 1);
  ASSERT(EVP_EncryptUpdate(cipher.get(), nullptr, &size, bytes(beside), static_cast<int>(beside.size())) == 1);
  ASSERT(EVP_EncryptUpdate(cipher.get(), out, &size, bytes(text), static_cast<int>(text.size())) == 1);
  ASSERT(EVP_EncryptFinal_ex(cipher.get(), out + text.size(), &size) == 1);
  ASSERT(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, EVP_GCM_TLS_TAG_LEN, out + text.size()) == 1);
  count_up(info, layout.sequence, 8);
  if (told) count_up(info, layout.iv, layout.iv_bytes);
  return record + explicit_nonce + sealed;
}

int FakeKernelTls::take_key(Handle handle, std::span<const char> key) {
  Conn& conn = conns_[number(handle)];
  if (conn.sending) violations_.push_back("a key while something is on its way");
  if (conn.key.empty()) {
    ++offers;
    if (options_.refusal != 0) return options_.refusal;
    conn.plain = below_.bytes_sent(handle);
  } else {
    if (!options_.changes_keys) return EBUSY;
    ++next_keys;
  }
  const std::string info(key.data(), key.size());
  if (find_layout(info).cipher == nullptr) return EINVAL;
  if (!conn.key.empty() && conn.key.substr(0, 4) != info.substr(0, 4)) violations_.push_back("another kind of key");
  conn.key = info;
  return 0;
}

void FakeKernelTls::send(Handle handle, std::span<const SendPart> parts, bool last) {
  Conn& conn = conns_[number(handle)];
  if (conn.sending) violations_.push_back("a second send");
  conn.sending = true;
  if (conn.key.empty()) return below_.send(handle, parts, last);
  if (last) violations_.push_back("the kernel keeps a record open for more, and close(2) drops it");
  conn.parts.assign(parts.begin(), parts.end());
  conn.type = APPLICATION_DATA;
  pump(handle, conn);
}

void FakeKernelTls::send_record(Handle handle, uint8_t type, std::span<const char> bytes) {
  Conn& conn = conns_[number(handle)];
  if (conn.sending) violations_.push_back("a second send");
  if (conn.key.empty()) violations_.push_back("a record without a key");
  if (type == APPLICATION_DATA) violations_.push_back("application data as a record of another type");
  types.push_back(type);
  conn.sending = true;
  conn.type = type;
  conn.parts = {SendPart::memory(bytes.data(), bytes.size())};
  pump(handle, conn);
}

std::string FakeKernelTls::take_plain(Handle handle, Conn& conn, uint64_t bytes) {
  std::string plain;
  while (plain.size() < bytes && !conn.parts.empty()) {
    SendPart& part = conn.parts.front();
    const uint64_t now = std::min<uint64_t>(part.size, bytes - plain.size());
    if (part.fd < 0) {
      plain.append(static_cast<const char*>(part.data), now);
      if (conn.type == APPLICATION_DATA) bytes_from_memory += now;
    } else {
      std::string piece(now, '\0');
      const ssize_t got = ::pread(part.fd, piece.data(), now, static_cast<off_t>(part.offset));
      if (got != static_cast<ssize_t>(now)) {
        conn.broken = true;
        broken_.push_back(handle);
        return "";
      }
      plain += piece;
      bytes_from_files += now;
    }
    if (now == part.size) {
      conn.parts.erase(conn.parts.begin());
    } else {
      part = part.slice(now, part.size - now);
    }
  }
  return plain;
}

// A chunk of what is left, into records, into one send below.
void FakeKernelTls::pump(Handle handle, Conn& conn) {
  const std::string plain = take_plain(handle, conn, 1 + prng_.below(static_cast<uint32_t>(options_.chunk_max)));
  if (conn.broken) return;
  conn.chunk = plain.size();
  conn.wire.clear();
  for (size_t at = 0; at < plain.size(); at += RECORD_MAX) {
    conn.wire += seal_like_kernel(conn.key, conn.type, std::string_view(plain).substr(at, RECORD_MAX));
  }
  below_.send_bytes(handle, conn.wire.data(), conn.wire.size());
}

size_t FakeKernelTls::poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) {
  size_t count = 0;
  for (; !broken_.empty() && count < out.size(); broken_.pop_back()) {
    if (!conns_.contains(number(broken_.back()))) continue;
    out[count++] = {.conn = broken_.back(), .error = ENODATA, .kind = TransportEventKind::FAILED};
  }
  const size_t came = below_.poll(now, count > 0 ? now : deadline, out.subspan(count));
  for (size_t i = count, end = count + came; i < end; ++i) {
    const TransportEvent event = out[i];
    const bool ends_send = event.kind == TransportEventKind::SENT || event.kind == TransportEventKind::FAILED;
    const auto found = conns_.find(number(event.conn));
    if (found != conns_.end() && found->second.broken && event.kind != TransportEventKind::CLOSED) {
      if (event.kind == TransportEventKind::RECEIVED) below_.release(event.buffer);
      continue;
    }
    if (ends_send && found != conns_.end()) {
      Conn& conn = found->second;
      if (event.kind == TransportEventKind::SENT) conn.plain += conn.chunk;
      conn.chunk = 0;
      if (event.kind == TransportEventKind::SENT && !conn.parts.empty()) {
        pump(event.conn, conn);
        continue;
      }
      conn.parts.clear();
      conn.sending = false;
    }
    if (event.kind == TransportEventKind::CLOSED) conns_.erase(number(event.conn));
    out[count++] = event;
  }
  return count;
}

uint64_t FakeKernelTls::bytes_sent(Handle handle) const {
  const auto found = conns_.find(number(handle));
  return found == conns_.end() || found->second.key.empty() ? below_.bytes_sent(handle) : found->second.plain;
}

bool FakeKernelTls::end(Handle handle, bool with_reset) {
  const bool lent = with_reset ? below_.reset(handle) : below_.close(handle);
  if (!lent) conns_.erase(number(handle));
  return lent;
}

}  // namespace penstock::test
