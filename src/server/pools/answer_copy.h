// AnswerCopy: an application's answer on its way into the response cache, while its client is served from the ring.
//
// Whether it may be kept, and how long, is said by the worker (a lifetime with its head) or by the answer's own fields
// (RFC 9111 sections 3 and 5.2.2, as a shared cache). Cold: it allocates; an answer that may not be kept costs a look
// at its fields.
#pragma once

#include "cache/body.h"
#include "cache/entry.h"
#include "pool/ring/server_link.h"
#include "src/http/response_head.h"
#include "src/server/exchange.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

// How long a shared cache may keep the answer to `head`; nothing: not at all. `ttl_ms`: what the worker said of it, 0:
// nothing. Only 200 to a plain GET is kept, and never an answer that sets a cookie, is encoded or varies.
[[nodiscard]] std::optional<Duration> answer_lifetime(const RequestHead& head, uint16_t status,
                                                      std::span<const LinkField> fields, uint32_t ttl_ms);

class AnswerCopy {
 public:
  // `length`: of the body, if known. `bytes_max`: an answer that is longer is not kept.
  AnswerCopy(std::span<const LinkField> fields, std::string_view site_fields, Duration lifetime, uint64_t length,
             uint64_t bytes_max);

  // The next piece of the body. False: too long, the copy is of no use.
  [[nodiscard]] bool add(std::string_view bytes);

  struct Made {
    KeyView key;
    uint64_t hash = 0;
    uint64_t generation = 0;
    uint64_t purge_mark = 0;
    std::string_view canonical;
    MonoTime now;
    int64_t unix_seconds = 0;
    ServerHeaderMode server = ServerHeaderMode::NONE;
  };
  // The whole answer as an entry, pinned once for the caller; nullptr: no memory, or a head that cannot be kept.
  [[nodiscard]] Entry* finish(const Made& made, BodyStore& bodies, MemoryLedger& ledger);

 private:
  [[nodiscard]] std::string make_head(uint16_t status, const Made& made, uint64_t length) const;

  struct Field {
    std::string name, value;
  };
  std::vector<Field> fields_;
  std::string site_fields_;
  std::string etag_;
  std::string content_type_;
  std::string body_;
  Duration lifetime_;
  uint64_t bytes_max_;
};

}  // namespace penstock
