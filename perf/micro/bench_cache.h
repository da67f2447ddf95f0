// A response cache to measure with: bodies in memory, nothing evicted that the caller leaves room for.
#pragma once

#include "cache/table.h"

#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace penstock {

struct BenchCache {
  static constexpr uint64_t SEED = 42;  // of its hash

  BenchCache(uint64_t bytes_max, uint32_t reactors)
      : store(ledger, {.sendfile_min = UINT64_MAX, .transient_max = UINT64_MAX}) {
    table = std::make_unique<CacheTable>(
        CacheConfig{.reactors = reactors, .hash_seed = SEED, .limits = {.bytes_max = bytes_max}}, ledger, validity);
  }

  // An entry with a head of a usual size.
  void put(std::string_view host, const std::string& target, size_t body_bytes) {
    const std::string canonical = std::string(host) + target;
    Body* body = store.create(body_bytes);
    std::memset(body->writable(), 'x', body_bytes);
    (void)body->seal();
    EntryBuilder builder;
    builder.key = {.host = host, .target = target};
    builder.hash = hash_key(builder.key, SEED);
    builder.purge_mark = table->purge_mark();
    builder.validity = validity.current(1);
    builder.canonical = canonical;
    static const std::string head =
        "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" + std::string(180, 'h') + "\r\n\r\n";
    (void)builder.add({.head = head, .date_offset = 23, .body = body});
    Entry* entry = builder.build(ledger);
    (void)table->insert(entry, now);
    entry->unpin();
    body->unpin();
  }

  MemoryLedger ledger;
  ValidityTable validity{1024};
  BodyStore store;
  std::unique_ptr<CacheTable> table;
  MonoTime now{seconds(10).ns};
};

}  // namespace penstock
