// Says how long an upload was and what its FNV-1a hash is, whatever its size: each piece is hashed where it lies, and
// the client is held back by nothing but the time that takes.
#include "pool/sdk/penstock_worker.h"

#include <cstdint>
#include <memory>
#include <string>

namespace {

struct Upload {
  uint64_t bytes = 0;
  uint64_t hash = 0xcbf29ce484222325ULL;
};

void answer(penstock_exchange* exchange, const Upload& upload) {
  const penstock_header type = {PENSTOCK_TEXT("Content-Type"), PENSTOCK_TEXT("text/plain")};
  const std::string said = std::to_string(upload.bytes) + " bytes, hash " + std::to_string(upload.hash) + "\n";
  penstock_answer(exchange, 200, &type, 1, said.data(), said.size());
}

void request(penstock_exchange* exchange, void*) {
  if (penstock_body_length(exchange) == 0) return answer(exchange, {});
  penstock_set_data(exchange, std::make_unique<Upload>().release());
}

void body(penstock_exchange* exchange, const char* bytes, size_t size, int last, void*) {
  auto* const upload = static_cast<Upload*>(penstock_data(exchange));
  upload->bytes += size;
  for (size_t i = 0; i < size; ++i)
    upload->hash = (upload->hash ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3ULL;
  if (last == 0) return;
  const std::unique_ptr<Upload> done(upload);
  answer(exchange, *done);
}

void cancelled(penstock_exchange* exchange, penstock_why_cancelled, void*) {
  const std::unique_ptr<Upload> gone(static_cast<Upload*>(penstock_data(exchange)));
}

}  // namespace

int main() {
  const penstock_callbacks callbacks{
      .request = request, .body = body, .writable = nullptr, .cancelled = cancelled, .stopping = nullptr};
  return penstock_worker_run(&callbacks, nullptr);
}
