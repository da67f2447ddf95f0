// CertificateBundle: the public files that a server needs for TLS, read by the supervisor, handed over in one memfd.
//
// The server process can open none of them. The supervisor writes a bundle for each state of the files, seals it and
// sends it along with the configuration that names them; the server maps it and reads what it needs when it needs it.
// Layout: BundleHead; one BundleEntry a file; paths and contents. Only certificates, revocation lists and OCSP
// responses: never a private key, which the writer looks for and refuses.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace penstock {

struct BundleFile {
  std::string path;
  std::string bytes;
};

// A sealed memfd with all of them, each path once. Error: one holds a private key (its message says which), or memory.
[[nodiscard]] Result<UniqueFd> write_certificate_bundle(const std::vector<BundleFile>& files);

class CertificateBundle {
 public:
  static constexpr uint64_t BYTES_MAX = uint64_t{1} << 30;

  // Maps it; every offset is checked.
  [[nodiscard]] static Result<std::unique_ptr<CertificateBundle>> open(int fd);
  CertificateBundle(const CertificateBundle&) = delete;
  CertificateBundle& operator=(const CertificateBundle&) = delete;
  ~CertificateBundle();

  // The bytes of a file, or nothing where the bundle has it not.
  [[nodiscard]] bool find(const std::string& path, std::string_view& bytes) const;
  [[nodiscard]] size_t size() const { return count_; }
  // Gives back what reading has brought into this process; it comes again when it is needed.
  void forget() const;

 private:
  CertificateBundle(const char* memory, size_t bytes) : memory_(memory), bytes_(bytes) {}
  const char* memory_;
  size_t bytes_;
  uint32_t count_ = 0;
};

}  // namespace penstock
