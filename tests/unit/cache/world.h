// A cache with everything it needs, and short ways to make entries for it.
#pragma once

#include "cache/table.h"

#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace penstock::cache_test {

inline constexpr uint64_t SEED = 0x5eed;

inline KeyView key_of(std::string_view target) { return {.secure = false, .host = "example.org", .target = target}; }
inline uint64_t hash_of(std::string_view target) { return hash_key(key_of(target), SEED); }

struct World {
  explicit World(const CacheLimits& limits = {}, const BodyLimits& bodies = {}, uint32_t reactors = 2)
      : store(ledger, bodies),
        table(std::make_unique<CacheTable>(CacheConfig{.reactors = reactors, .hash_seed = SEED, .limits = limits},
                                           ledger, validity)) {
    for (uint32_t i = 0; i < reactors; ++i) table->online(i);
  }

  Body* body(std::string_view bytes) {
    Body* made = store.create(bytes.size());
    if (made == nullptr) return nullptr;
    if (!bytes.empty()) std::memcpy(made->writable(), bytes.data(), bytes.size());
    return made->seal() ? made : nullptr;
  }

  // An entry with one identity variant whose body is `content`; canonical "example.org" + target.
  Entry* entry(std::string_view target, std::string_view content, uint64_t generation = 1, Validity depends = {},
               MonoTime expires = MonoTime::never()) {
    const std::string canonical = std::string("example.org").append(target);
    const std::string head = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
    Body* made = body(content);
    EntryBuilder builder;
    builder.key = key_of(target);
    builder.hash = hash_of(target);
    builder.generation = generation;
    builder.purge_mark = table->purge_mark();
    builder.validity = depends;
    builder.expires = expires;
    builder.content_type = "text/plain";
    builder.canonical = canonical;
    if (!builder.add({.head = head, .date_offset = 23, .etag = "\"e\"", .body = made})) return nullptr;
    Entry* built = builder.build(ledger);
    made->unpin();
    return built;
  }

  // Makes and inserts; the table alone holds it then.
  InsertOutcome put(std::string_view target, std::string_view content, uint64_t generation = 1, Validity depends = {},
                    MonoTime expires = MonoTime::never()) {
    Entry* made = entry(target, content, generation, depends, expires);
    const InsertOutcome outcome = table->insert(made, now);
    made->unpin();
    return outcome;
  }

  const Entry* look(std::string_view target, uint64_t generation = 1, uint32_t reactor = 0) {
    return table->lookup(reactor, key_of(target), hash_of(target), generation, now, why);
  }

  void turn() {
    table->quiescent(0);
    table->quiescent(1);
  }

  // Works off everything that is due.
  void upkeep() {
    turn();
    while (table->maintain(now)) turn();
    turn();
    (void)table->maintain(now);
  }

  MemoryLedger ledger;
  ValidityTable validity{64};
  BodyStore store;
  std::unique_ptr<CacheTable> table;
  MonoTime now{seconds(1000).ns};
  Verdict why = Verdict::HIT;
};

}  // namespace penstock::cache_test
