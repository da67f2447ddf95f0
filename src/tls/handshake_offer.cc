#include "src/tls/handshake_offer.h"

#include <algorithm>
#include <array>
#include <openssl/err.h>

namespace penstock {
namespace {

// Only for the operator: any other name that OpenSSL knows may be configured, too.
constexpr std::string_view GROUPS[] = {"X25519",
                                       "P-256",
                                       "P-384",
                                       "P-521",
                                       "X448",
                                       "ffdhe2048",
                                       "ffdhe3072",
                                       "X25519MLKEM768",
                                       "ffdhe4096",
                                       "MLKEM768",
                                       "SecP256r1MLKEM768",
                                       "SecP384r1MLKEM1024"};

struct Compression {
  std::string_view name;
  int number;
};
constexpr Compression COMPRESSIONS[] = {{"zlib", 1}, {"brotli", 2}, {"zstd", 3}};

OpensslPointer<SSL_CTX> probe_context() { return OpensslPointer<SSL_CTX>(SSL_CTX_new(TLS_server_method())); }

bool takes_groups(SSL_CTX* context, const std::string& list) {
  const bool takes = context != nullptr && SSL_CTX_set1_groups_list(context, list.c_str()) == 1;
  ERR_clear_error();
  return takes;
}

bool has_compression(SSL_CTX* context, int number) {
#ifdef PENSTOCK_CERTIFICATE_COMPRESSION
  const bool has = context != nullptr && SSL_CTX_set1_cert_comp_preference(context, &number, 1) == 1;
  ERR_clear_error();
  return has;
#else
  (void)context;
  (void)number;
  return false;
#endif
}

// A name without its question mark.
std::string_view bare(std::string_view name) { return name.substr(name.starts_with('?') ? 1 : 0); }

std::string joined(const std::vector<std::string_view>& names, std::string_view between) {
  std::string text;
  for (const std::string_view name : names) text.append(text.empty() ? "" : between).append(name);
  return text;
}

std::string unknown(const std::string& what, const std::string& known, std::string_view name) {
  return "expected " + what + " that " + openssl_name() + " knows (" + known + "), got \"" + std::string(name) +
         "\"; one with a ? before it is used only where it is known";
}

}  // namespace

std::string openssl_name() { return std::string("OpenSSL ") + OpenSSL_version(OPENSSL_VERSION_STRING); }

std::string known_groups() {
  const auto context = probe_context();
  std::vector<std::string_view> known;
  for (const std::string_view name : GROUPS) {
    if (takes_groups(context.get(), std::string(name))) known.push_back(name);
  }
  return joined(known, ", ");
}

std::string known_compressions() {
  const auto context = probe_context();
  std::vector<std::string_view> known;
  for (const Compression& one : COMPRESSIONS) {
    if (has_compression(context.get(), one.number)) known.push_back(one.name);
  }
  return known.empty() ? "none" : joined(known, ", ");
}

Result<std::string> offer_groups(std::span<const std::string> names) {
  const auto context = probe_context();
  std::vector<std::string_view> taken;
  for (const std::string& name : names) {
    if (takes_groups(context.get(), std::string(bare(name)))) {
      taken.push_back(bare(name));
    } else if (!name.starts_with('?')) {
      return fail(unknown("groups", known_groups(), name));
    }
  }
  if (taken.empty()) return fail("expected at least one group that " + openssl_name() + " knows: " + known_groups());
  std::string list = joined(taken, ":");
  if (!takes_groups(context.get(), list)) return fail("expected each group once, under one of its names");
  return list;
}

Result<std::vector<int>> offer_compressions(std::span<const std::string> names) {
  const auto context = names.empty() ? nullptr : probe_context();
  std::vector<int> taken;
  for (const std::string& name : names) {
    const auto* const one = std::ranges::find(COMPRESSIONS, bare(name), &Compression::name);
    if (one != std::end(COMPRESSIONS) && has_compression(context.get(), one->number)) {
      if (std::ranges::find(taken, one->number) != taken.end()) return fail("expected each compression once");
      taken.push_back(one->number);
    } else if (!name.starts_with('?')) {
      return fail(unknown("compressions", known_compressions(), name));
    }
  }
  return taken;
}

void LiveOffer::set(HandshakeOffer offer) {
  const std::lock_guard lock(mutex_);
  offer_ = std::move(offer);
  version_.fetch_add(1, std::memory_order_release);
}

HandshakeOffer LiveOffer::get() const {
  const std::lock_guard lock(mutex_);
  return offer_;
}

#ifdef PENSTOCK_CERTIFICATE_COMPRESSION
void offer_compressed(SSL* ssl, std::span<const int> algorithms, std::vector<CompressedCertificate>& made) {
  for (const int algorithm : algorithms) {
    auto one = std::ranges::find(made, algorithm, &CompressedCertificate::algorithm);
    if (one == made.end()) {
      unsigned char* bytes = nullptr;
      CompressedCertificate fresh{.algorithm = algorithm, .bytes = {}};
      size_t size = 0;
      // OpenSSL makes it only before a handshake, and this one has begun.
      const OpensslPointer<SSL> other(SSL_new(SSL_get_SSL_CTX(ssl)));
      STACK_OF(X509)* chain = nullptr;
      SSL_ctrl(ssl, SSL_CTRL_GET_CHAIN_CERTS, 0, static_cast<void*>(&chain));
      if (other != nullptr) {
        SSL_set_accept_state(other.get());
        if (SSL_use_cert_and_key(other.get(), SSL_get_certificate(ssl), SSL_get_privatekey(ssl), chain, 1) == 1) {
          size = SSL_get1_compressed_cert(other.get(), algorithm, &bytes, &fresh.whole_bytes);
        }
      }
      if (bytes != nullptr) fresh.bytes.assign(bytes, bytes + size);
      OPENSSL_free(bytes);
      one = made.insert(made.end(), std::move(fresh));
    }
    if (one->bytes.empty()) continue;
    (void)SSL_set1_compressed_cert(ssl, algorithm, one->bytes.data(), one->bytes.size(), one->whole_bytes);
  }
  ERR_clear_error();
}
#else
void offer_compressed(SSL* /*ssl*/, std::span<const int> /*algorithms*/, std::vector<CompressedCertificate>& /*made*/) {
}
#endif

}  // namespace penstock
