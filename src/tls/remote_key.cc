#include "src/tls/remote_key.h"

#include "src/tls/key_scheme.h"
#include "src/tls/remote_key_provider.h"
#include "src/tls/remote_key_wait.h"

#include <openssl/async.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <utility>
#include <vector>

namespace penstock {
namespace {

// Some jobs run, and end at once, beside those that wait.
constexpr size_t JOBS_MAX = KEY_SLOTS + KeyChannel::WAITING_MAX + 16;

// Where an SSL keeps its KeyWait.
int wait_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// Never called: with it, libssl puts the SSL into the context of its job, where current_wait() finds it.
int answered(SSL*, void*) { return 1; }

KeyWait* current_wait() {
  ASYNC_JOB* job = ASYNC_get_current_job();
  ASYNC_callback_fn callback = nullptr;
  void* ssl = nullptr;
  if (job == nullptr || ASYNC_WAIT_CTX_get_callback(ASYNC_get_wait_ctx(job), &callback, &ssl) != 1) return nullptr;
  // Only libssl starts jobs here, and its argument is the SSL.
  return ssl == nullptr ? nullptr : static_cast<KeyWait*>(SSL_get_ex_data(static_cast<SSL*>(ssl), wait_index()));
}

std::unexpected<Error> fail_openssl(const std::string& what) {
  char text[256] = "unknown";
  if (const unsigned long code = ERR_peek_last_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return fail(what + ": " + text);
}

std::vector<unsigned char> public_der(EVP_PKEY* key) {
  std::vector<unsigned char> der;
  const int size = i2d_PUBKEY(key, nullptr);
  if (size <= 0) return der;
  der.resize(static_cast<size_t>(size));
  unsigned char* at = der.data();
  if (i2d_PUBKEY(key, &at) != size) der.clear();
  return der;
}

}  // namespace

size_t wait_for_signature(const KeyRequest& request, std::span<unsigned char> out) {
  KeyWait* wait = current_wait();
  if (wait == nullptr || !wait->begin(request)) return 0;
  while (wait->waiting()) {
    if (ASYNC_pause_job() == 0) wait->cancel();
  }
  const size_t size = wait->take(out);
  return wait->status() == KeyStatus::OK ? size : 0;
}

Result<RemoteKeys> RemoteKeys::load(OSSL_LIB_CTX* context) {
  RemoteKeys keys;
  keys.context_ = context;
  keys.default_.reset(OSSL_PROVIDER_load(context, "default"));
  if (keys.default_ == nullptr) return fail_openssl("OpenSSL's default provider cannot be loaded");
  if (OSSL_PROVIDER_add_builtin(context, REMOTE_PROVIDER, penstock_remote_provider) != 1) {
    return fail_openssl("the provider of remote keys cannot be added to OpenSSL");
  }
  keys.ours_.reset(OSSL_PROVIDER_load(context, REMOTE_PROVIDER));
  if (keys.ours_ == nullptr) return fail_openssl("the provider of remote keys cannot be loaded");
  return keys;
}

Result<UniquePkey> RemoteKeys::make_key(EVP_PKEY* public_key, const KeyName& name) const {
  const auto kind = key_kind(public_key);
  if (!kind) return fail("the certificate's key is of a kind that is not served");
  std::vector<unsigned char> der = public_der(public_key);
  if (der.empty()) return fail_openssl("the certificate's key cannot be encoded");
  KeyName copy = name;
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(REMOTE_KEY_PUBLIC, der.data(), der.size()),
                               OSSL_PARAM_construct_octet_string(REMOTE_KEY_NAME, &copy, sizeof copy),
                               OSSL_PARAM_construct_end()};
  const std::string properties = std::string("provider=") + REMOTE_PROVIDER;
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> maker(
      EVP_PKEY_CTX_new_from_name(context_, key_kind_name(*kind), properties.c_str()), &EVP_PKEY_CTX_free);
  EVP_PKEY* made = nullptr;
  if (maker == nullptr || EVP_PKEY_fromdata_init(maker.get()) != 1 ||
      EVP_PKEY_fromdata(maker.get(), &made, EVP_PKEY_KEYPAIR, const_cast<OSSL_PARAM*>(params)) != 1) {
    return fail_openssl("a remote key cannot be made");
  }
  return UniquePkey(made);
}

Result<KeyName> key_name(const std::string& file, EVP_PKEY* certificate_key) {
  KeyName name;
  name.file = key_file_id(file);
  const std::vector<unsigned char> der = public_der(certificate_key);
  size_t size = 0;
  if (der.empty() ||
      EVP_Q_digest(nullptr, "SHA256", nullptr, der.data(), der.size(), name.public_key.data(), &size) != 1) {
    return fail_openssl("the certificate's key cannot be hashed");
  }
  return name;
}

Status prepare_key_thread() {
  ASYNC_cleanup_thread();  // OpenSSL forgets, and does not free, what an earlier call made
  if (ASYNC_init_thread(JOBS_MAX, 0) != 1) return fail_openssl("OpenSSL cannot suspend handshakes on this thread");
  return {};
}

Status wait_for_key(SSL* ssl, KeyWait& wait) {
  SSL_set_mode(ssl, SSL_MODE_ASYNC);
  if (SSL_set_ex_data(ssl, wait_index(), &wait) != 1 || SSL_set_async_callback(ssl, &answered) != 1) {
    return fail_openssl("a handshake cannot be made to wait");
  }
  return {};
}

void stop_waiting_for_key(SSL* ssl) { SSL_clear_mode(ssl, SSL_MODE_ASYNC); }

void give_up_handshake(SSL* ssl, KeyWait& wait) {
  wait.cancel();
  wait.unbind();
  if (SSL_waiting_for_async(ssl) == 0) return;
  (void)SSL_do_handshake(ssl);  // the job goes on, finds no answer, fails and ends
  ERR_clear_error();
}

}  // namespace penstock
