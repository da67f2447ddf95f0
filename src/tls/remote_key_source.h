// KeySource over keyd: what a server process makes of a certificate and the name of a key file.
#pragma once

#include "src/tls/certificate_table.h"
#include "src/tls/remote_key.h"

#include <expected>
#include <string>

namespace penstock {

class RemoteKeySource final : public KeySource {
 public:
  // `channel` is for probe(), which only the thread that loads certificates calls. Both outlive it.
  RemoteKeySource(const RemoteKeys& keys, KeyChannel& channel) : keys_(keys), channel_(channel) {}

  Result<OpensslPointer<EVP_PKEY>> make(EVP_PKEY* public_key, const std::string& file) override {
    const auto name = key_name(file, public_key);
    if (!name) return std::unexpected(name.error());
    auto key = keys_.make_key(public_key, *name);
    if (!key) return std::unexpected(key.error());
    return OpensslPointer<EVP_PKEY>(key->release());
  }
  Status probe(EVP_PKEY* public_key, const std::string& file) override {
    const auto name = key_name(file, public_key);
    if (!name) return std::unexpected(name.error());
    return check_key(channel_, *name, file, PROBE_PATIENCE);
  }

 private:
  static constexpr Duration PROBE_PATIENCE = seconds(5);  // keyd may be starting, too
  const RemoteKeys& keys_;
  KeyChannel& channel_;
};

}  // namespace penstock
