#include "src/server/outgoing.h"

namespace penstock {

void Outgoing::refer(const Body& body, uint64_t offset, uint64_t size, bool encrypted) {
  ASSERT(offset <= body.size() && size <= body.size() - offset);
  if (size == 0) return;
  body.pin();
  pins_.push_back(&body);
  if (body.fd() >= 0 && (!encrypted || body.data() == nullptr)) {
    add(SendPart::file(body.fd(), offset, size));
  } else {
    SendPart whole = SendPart::memory(body.data(), body.size());
    whole.sums = body.sums();
    whole.sum_stride = static_cast<uint16_t>(body.sum_stride());
    add(whole.slice(offset, size));
  }
}

}  // namespace penstock
