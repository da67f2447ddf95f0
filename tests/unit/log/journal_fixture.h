// A journal in memfds of its own, with helpers that begin and end requests the way a reactor does.
#pragma once

#include "src/log/journal.h"
#include "src/log/journal_memory.h"
#include "src/log/journal_reader.h"
#include "src/log/ring_reader.h"

#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace penstock::log_test {

struct Pair {
  explicit Pair(uint32_t slots = 64, uint64_t ring_bytes = RING_BYTES_MIN, uint32_t reactor = 0, int bell = -1)
      : memory(create_journal_memory({.reactor = reactor, .instance = 7, .slot_count = slots, .ring_bytes = ring_bytes})
                   .value()),
        reactor_map(JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::REACTOR).value()),
        drain_map(JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::DRAIN).value()),
        watch_map(JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::WATCH).value()),
        bell_fd(bell) {
    restart_server();
    restart_logd();
  }
  // As after kill -9: the process is gone, the memory is not.
  void restart_server() { journal = std::make_unique<Journal>(reactor_map, bell_fd); }
  void restart_logd() { ring = std::make_unique<RingReader>(drain_map); }

  JournalMemory memory;
  JournalMap reactor_map;
  JournalMap drain_map;
  JournalMap watch_map;
  int bell_fd;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<RingReader> ring;
};

inline ConnectionFacts facts(uint64_t id = 1) {
  ConnectionFacts f;
  f.id = id;
  f.accepted = {1000};
  f.client = {.ip = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7}, .port = 40000, .family = 4};
  f.server = {.ip = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}, .port = 8080, .family = 4};
  return f;
}

inline std::string request_head(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test/1.0\r\nReferer: http://r/\r\n\r\n";
}

// Views into `raw` as the parser makes them.
inline HeadTexts texts_in(const std::string& raw) {
  const std::string_view all = raw;
  const auto between = [&](std::string_view from, std::string_view to) {
    const size_t a = all.find(from) + from.size();
    return all.substr(a, all.find(to, a) - a);
  };
  return {.method = all.substr(0, 3),
          .target = between("GET ", " HTTP"),
          .host = between("Host: ", "\r"),
          .user_agent = between("User-Agent: ", "\r"),
          .referer = between("Referer: ", "\r")};
}

inline JournalSlot begin_one(Journal& journal, const std::string& target, MonoTime now, uint32_t number = 1) {
  const std::string raw = request_head(target);
  const JournalSlot slot = journal.begin(now, facts(), number, 3, raw);
  if (slot.valid()) journal.head(slot, raw, texts_in(raw));
  return slot;
}

inline Outcome ok_outcome() {
  Outcome o;
  o.status = 200;
  o.reason = 1;
  o.verdict = 2;
  o.bytes_in = 100;
  o.head_bytes_out = 200;
  o.body_bytes_out = 1024;
  o.version = HttpVersion::HTTP_11;
  o.site = "main";
  return o;
}

}  // namespace penstock::log_test
