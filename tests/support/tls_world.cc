#include "tests/support/tls_world.h"

#include "src/base/assert.h"

#include <algorithm>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace penstock::test {
namespace {

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

OpensslPointer<EVP_PKEY> key_of(const std::string& pem) {
  const OpensslPointer<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return OpensslPointer<EVP_PKEY>(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

}  // namespace

TestPair make_test_pair(const std::string& host, KeyKind kind) {
  const OpensslPointer<EVP_PKEY> key(kind == KeyKind::EC ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048));
  const OpensslPointer<X509> certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -86'400);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 86'400);
  X509_NAME* const name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(host.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  X509_set_pubkey(certificate.get(), key.get());
  ASSERT(X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0);
  const OpensslPointer<BIO> out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), certificate.get());
  const OpensslPointer<BIO> key_out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {.certificate = text_of(out.get()), .key = text_of(key_out.get())};
}

Result<OpensslPointer<EVP_PKEY>> TestKeys::make(EVP_PKEY* public_key, const std::string& file) {
  if (Status there = probe(public_key, file); !there) return std::unexpected(there.error());
  return key_of(files_[file]);
}

Status TestKeys::probe(EVP_PKEY* public_key, const std::string& file) {
  const auto key = key_of(files_[file]);
  if (key == nullptr) return fail(file + " holds no private key");
  if (EVP_PKEY_eq(key.get(), public_key) != 1) return fail(file + " does not belong to the certificate");
  return {};
}

std::unique_ptr<CertificateTable> make_test_table(const std::vector<TestSite>& sites, TestKeys& keys) {
  std::vector<BundleFile> files;
  for (const TestSite& site : sites) {
    for (size_t i = 0; i < site.pairs.size(); ++i) {
      const std::string file = site.name + std::to_string(i);
      files.push_back({file + ".pem", site.pairs[i].certificate});
      keys.add(file + ".key", site.pairs[i].key);
    }
  }
  const auto fd = write_certificate_bundle(files);
  ASSERT(fd.has_value());
  auto bundle = CertificateBundle::open(fd->get());
  ASSERT(bundle.has_value());
  std::vector<CertificateSite> made;
  for (const TestSite& site : sites) {
    CertificateSite one{
        .name = site.name, .hosts = site.hosts, .pairs = {}, .client = site.client, .fallback = made.empty()};
    for (size_t i = 0; i < site.pairs.size(); ++i) {
      const std::string file = site.name + std::to_string(i);
      CertificateSource source{
          .certificate_file = file + ".pem", .key_file = file + ".key", .ocsp_file = {}, .chain = {}, .ocsp = {}};
      ASSERT((*bundle)->find(source.certificate_file, source.chain));
      one.pairs.push_back(std::move(source));
    }
    made.push_back(std::move(one));
  }
  return std::make_unique<CertificateTable>(std::move(made), std::move(*bundle));
}

TlsParts::TlsParts(const std::vector<std::string>& protocols) {
  static const TestPair pair = make_test_pair("example.org");
  store.replace(make_test_table({{"site", {"*"}, {pair}}}, keys));
  auto made = TlsContext::make(store, tickets, live, protocols);
  ASSERT(made.has_value());
  context = std::move(*made);
}

TlsClient::TlsClient(const TlsClientOptions& options) : context_(SSL_CTX_new(TLS_client_method())) {
  SSL_CTX_set_min_proto_version(context_.get(), options.version_min);
  SSL_CTX_set_max_proto_version(context_.get(), options.version_max);
  SSL_CTX_set_mode(context_.get(), SSL_MODE_RELEASE_BUFFERS);
  if (!options.ciphers.empty()) ASSERT(SSL_CTX_set_cipher_list(context_.get(), options.ciphers.c_str()) == 1);
  if (!options.signatures.empty()) ASSERT(SSL_CTX_set1_sigalgs_list(context_.get(), options.signatures.c_str()) == 1);
  if (!options.certificate.empty()) show(options.certificate, options.key);
  ssl_.reset(SSL_new(context_.get()));
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(ssl_.get());
  if (!options.server_name.empty()) {  // SSL_set_tlsext_host_name() without its C cast
    SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
             const_cast<char*>(options.server_name.c_str()));
  }
  if (options.session != nullptr) SSL_set_session(ssl_.get(), options.session);
  if (options.asks_ocsp) SSL_set_tlsext_status_type(ssl_.get(), TLSEXT_STATUSTYPE_ocsp);
  std::string list;
  for (const std::string& protocol : options.protocols) (list += static_cast<char>(protocol.size())) += protocol;
  if (!list.empty()) {
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(list.data()),
                        static_cast<unsigned>(list.size()));
  }
}

void TlsClient::show(const std::string& certificates, const std::string& key) {
  const OpensslPointer<BIO> bio(BIO_new_mem_buf(certificates.data(), static_cast<int>(certificates.size())));
  const OpensslPointer<X509> leaf(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  ASSERT(SSL_CTX_use_certificate(context_.get(), leaf.get()) == 1);
  ASSERT(SSL_CTX_use_PrivateKey(context_.get(), key_of(key).get()) == 1);
  while (OpensslPointer<X509> next{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    SSL_CTX_add1_chain_cert(context_.get(), next.get());
  }
  ERR_clear_error();
}

void TlsClient::feed(std::string_view ciphertext) {
  BIO_write(SSL_get_rbio(ssl_.get()), ciphertext.data(), static_cast<int>(ciphertext.size()));
}

std::string TlsClient::take_output() {
  BIO* const bio = SSL_get_wbio(ssl_.get());
  std::string out = text_of(bio);
  (void)BIO_reset(bio);
  return out;
}

void TlsClient::step() {
  if (failed_ || SSL_is_init_finished(ssl_.get()) == 1) return;
  ERR_clear_error();
  const int rc = SSL_do_handshake(ssl_.get());
  if (rc != 1 && SSL_get_error(ssl_.get(), rc) != SSL_ERROR_WANT_READ) failed_ = true;
}

void TlsClient::write(std::string_view plain) {
  size_t put = 0;
  if (!plain.empty() && SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &put) != 1) failed_ = true;
}

std::string TlsClient::read(size_t bytes_max) {
  constexpr size_t RECORD_BYTES = 16'384;  // more than one is never given (RFC 8446 section 5.1)
  std::string out(std::min(bytes_max, RECORD_BYTES), '\0');
  size_t got = 0;
  ERR_clear_error();
  if (failed_ || bytes_max == 0) return "";
  const int rc = SSL_read_ex(ssl_.get(), out.data(), out.size(), &got);
  const int error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), rc);
  if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_ZERO_RETURN) failed_ = true;
  out.resize(rc == 1 ? got : 0);
  return out;
}

}  // namespace penstock::test
