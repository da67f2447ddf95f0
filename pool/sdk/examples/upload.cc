// Says how long an upload was and what its FNV-1a hash is, whatever its size: each piece is hashed where it lies, and
// the client is held back by nothing but the time that takes.
#include "pool/sdk/penstock_worker.hpp"

#include <cstdint>
#include <string>

namespace {

using penstock::sdk::Exchange;

struct Upload {
  uint64_t bytes = 0;
  uint64_t hash = 0xcbf29ce484222325ULL;
};

void answer(Exchange exchange, const Upload& upload) {
  exchange.answer(200, {{"Content-Type", "text/plain"}},
                  std::to_string(upload.bytes) + " bytes, hash " + std::to_string(upload.hash) + "\n");
}

class Uploads : public penstock::sdk::Application {
 public:
  void request(Exchange exchange) override {
    if (exchange.body_length() == 0) return answer(exchange, {});
    exchange.keep(std::make_unique<Upload>());
  }

  void body(Exchange exchange, std::string_view bytes, bool last) override {
    auto* const upload = exchange.kept<Upload>();
    upload->bytes += bytes.size();
    for (const char c : bytes) upload->hash = (upload->hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    if (last) answer(exchange, *exchange.take<Upload>());
  }

  void cancelled(Exchange exchange, penstock_why_cancelled) override { (void)exchange.take<Upload>(); }
};

}  // namespace

int main() {
  Uploads uploads;
  return penstock::sdk::run(uploads);
}
