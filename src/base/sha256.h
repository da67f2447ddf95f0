// SHA-256 (FIPS 180-4), for files that are known by their sum. Plain code: what is signed and encrypted is OpenSSL's
// (src/tls). Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

class Sha256 {
 public:
  using Sum = std::array<uint8_t, 32>;
  void add(std::string_view bytes);
  [[nodiscard]] Sum finish();  // once, and nothing after it

 private:
  void block(const uint8_t* bytes);
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> rest_{};
  uint64_t bytes_ = 0;
};

[[nodiscard]] std::string hex_of(const Sha256::Sum& sum);

}  // namespace penstock
