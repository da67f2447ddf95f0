#include "cache/verdict.h"
#include "tests/unit/cache/world.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <set>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>
#include <vector>

namespace penstock::cache_test {
namespace {

TEST(Body, a_small_one_is_plain_memory_and_a_large_one_a_memfd) {
  World w({}, {.sendfile_min = 1000});
  Body* small = w.body(std::string(999, 's'));
  Body* large = w.body(std::string(1000, 'l'));
  EXPECT_EQ(small->fd(), -1);
  EXPECT_GE(large->fd(), 0);
  EXPECT_EQ(small->view(), std::string(999, 's'));
  EXPECT_EQ(large->view(), std::string(1000, 'l'));
  EXPECT_EQ(w.store.memfds(), 1u);
  small->unpin();
  large->unpin();
  EXPECT_EQ(w.store.memfds(), 0u);
  EXPECT_EQ(w.ledger.transient(), 0u);
}

TEST(Body, nobody_can_change_a_sealed_memfd) {
  World w({}, {.sendfile_min = 1});
  Body* body = w.body("immutable");
  const int fd = body->fd();
  EXPECT_EQ(::pwrite(fd, "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(fd, 1), -1);
  EXPECT_EQ(::ftruncate(fd, 100), -1);
  EXPECT_EQ(::mmap(nullptr, 9, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_EQ(body->view(), "immutable");
  body->unpin();
}

TEST(Body, a_memfd_can_be_filled_through_its_descriptor_and_sent_from_it) {
  World w({}, {.sendfile_min = 1});
  Body* body = w.store.create(5);
  ASSERT_EQ(::pwrite(body->fd(), "hello", 5, 0), 5);
  ASSERT_TRUE(body->seal());
  int pipes[2];
  ASSERT_EQ(::pipe(pipes), 0);
  off_t offset = 0;
  ASSERT_EQ(::sendfile(pipes[1], body->fd(), &offset, 5), 5);
  body->unpin();  // the kernel still holds the page
  char got[5];
  ASSERT_EQ(::read(pipes[0], got, 5), 5);
  EXPECT_EQ(std::string_view(got, 5), "hello");
  ::close(pipes[0]);
  ::close(pipes[1]);
}

TEST(BodyStore, refuses_beyond_the_transient_bound_and_recovers) {
  World w({}, {.sendfile_min = UINT64_MAX, .transient_max = 10'000});
  Body* first = w.store.create(6'000);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(w.store.create(6'000), nullptr);
  EXPECT_EQ(w.store.create(UINT64_MAX - 8), nullptr);
  EXPECT_EQ(w.store.create(UINT64_MAX / 2), nullptr);
  first->unpin();
  EXPECT_EQ(w.ledger.transient(), 0u);
  Body* second = w.store.create(6'000);
  ASSERT_NE(second, nullptr);
  second->unpin();
}

TEST(BodyStore, beyond_the_descriptor_bound_large_bodies_are_plain_memory) {
  World w({}, {.sendfile_min = 10, .memfds_max = 2});
  std::vector<Body*> bodies;
  for (int i = 0; i < 4; ++i) bodies.push_back(w.body("0123456789"));
  EXPECT_GE(bodies[1]->fd(), 0);
  EXPECT_EQ(bodies[2]->fd(), -1);
  EXPECT_EQ(bodies[3]->view(), "0123456789");
  EXPECT_EQ(w.store.memfds(), 2u);
  for (Body* body : bodies) body->unpin();
}

TEST(BodyStore, sc13_sums_are_made_when_a_body_is_sealed) {
  MemoryLedger ledger;
  const BodySums sums{.stride = 4, .sum = [](std::span<const uint8_t> bytes) {
                        return static_cast<uint16_t>(bytes.size() * 1000 + bytes.front());
                      }};
  BodyStore store(ledger, {.sendfile_min = 100}, sums);
  for (const std::string_view text : {"abcdefghij", "abcdefghi", "abcd", "a", ""}) {
    Body* body = store.create(text.size());
    text.copy(body->writable(), text.size());
    ASSERT_TRUE(body->seal());
    EXPECT_EQ(body->view(), text);
    EXPECT_EQ(body->sum_stride(), 4u);
    for (size_t at = 0; at < text.size(); at += 4)
      EXPECT_EQ(body->sums()[at / 4], std::min<size_t>(4, text.size() - at) * 1000 + static_cast<size_t>(text[at]));
    body->unpin();
  }
  Body* file = store.create(200);
  EXPECT_EQ(file->sums(), nullptr);
  file->unpin();
  EXPECT_EQ(ledger.transient(), 0u);
  World without;
  Body* body = without.body("abc");
  EXPECT_EQ(body->sums(), nullptr);
  body->unpin();
}

TEST(BodyStore, an_empty_body_is_a_body) {
  World w({}, {.sendfile_min = 0});
  Body* body = w.body("");
  EXPECT_EQ(body->fd(), -1);
  EXPECT_NE(body->data(), nullptr);
  EXPECT_EQ(body->size(), 0u);
  body->unpin();
}

TEST(Entry, carries_everything_it_was_built_with) {
  World w;
  Body* body = w.body("content");
  const std::string head = "HTTP/1.1 200 OK\r\nDate: " + std::string(DATE_BYTES, 'd') + "\r\n\r\n";
  const std::string head_304 = "HTTP/1.1 304 Not Modified\r\nDate: " + std::string(DATE_BYTES, 'd') + "\r\n\r\n";
  EntryBuilder builder;
  builder.key = {.secure = true, .host = "h", .target = "/t?q"};
  builder.hash = 77;
  builder.generation = 9;
  builder.validity = {3, 4};
  builder.created = MonoTime{5};
  builder.expires = MonoTime{6};
  builder.status = 404;
  builder.last_modified = -7;
  builder.content_type = "text/html; charset=utf-8";
  builder.canonical = "h/t";
  builder.owner_flags = 8;
  builder.owner_word = 1234567890123;
  ASSERT_TRUE(builder.add(
      {.head = head, .date_offset = 23, .head_304 = head_304, .date_offset_304 = 33, .etag = "\"tag\"", .body = body}));
  Entry* entry = builder.build(w.ledger);
  body->unpin();
  ASSERT_NE(entry, nullptr);
  for (const EntryBuilder& copy : {EntryBuilder::from(*entry)}) {
    Entry* again = copy.build(w.ledger);
    for (const Entry* e : {static_cast<const Entry*>(entry), static_cast<const Entry*>(again)}) {
      EXPECT_TRUE(e->has_key(builder.key));
      EXPECT_EQ(e->hash(), 77u);
      EXPECT_EQ(e->generation(), 9u);
      EXPECT_EQ(e->validity(), (Validity{3, 4}));
      EXPECT_EQ(e->created(), MonoTime{5});
      EXPECT_EQ(e->expires(), MonoTime{6});
      EXPECT_EQ(e->status(), 404);
      EXPECT_EQ(e->last_modified(), -7);
      EXPECT_EQ(e->content_type(), "text/html; charset=utf-8");
      EXPECT_EQ(e->canonical(), "h/t");
      EXPECT_EQ(e->owner_flags(), 8u);
      EXPECT_EQ(e->owner_word(), 1234567890123u);
      const Variant* v = e->pick(7);
      ASSERT_NE(v, nullptr);
      EXPECT_EQ(v->head(), head);
      EXPECT_EQ(v->head().substr(v->date_offset, DATE_BYTES), std::string(DATE_BYTES, 'd'));
      EXPECT_EQ(v->head_304(), head_304);
      EXPECT_EQ(v->head_304().substr(v->date_offset_304, DATE_BYTES), std::string(DATE_BYTES, 'd'));
      EXPECT_EQ(v->etag(), "\"tag\"");
      EXPECT_EQ(std::string_view(v->body_data, v->body_size), "content");
      EXPECT_EQ(reinterpret_cast<uintptr_t>(e) % 64, 0u);
    }
    again->unpin();
  }
  entry->unpin();
  EXPECT_EQ(w.store.bodies(), 0u);
  EXPECT_EQ(w.ledger.transient(), 0u);
}

TEST(Entry, picks_the_smallest_variant_that_is_accepted) {
  World w;
  EntryBuilder builder;
  const std::vector<std::pair<Coding, size_t>> sizes = {
      {Coding::IDENTITY, 100}, {Coding::GZIP, 50}, {Coding::BR, 40}, {Coding::ZSTD, 60}};
  std::vector<Body*> bodies;
  for (auto [coding, size] : sizes) {
    Body* body = w.body(std::string(size, 'x'));
    ASSERT_TRUE(builder.add({.coding = coding, .head = "H\r\n\r\n", .body = body}));
    ASSERT_FALSE(builder.add({.coding = coding, .head = "H\r\n\r\n", .body = body})) << "one per coding";
    bodies.push_back(body);
  }
  Entry* entry = builder.build(w.ledger);
  for (Body* body : bodies) body->unpin();
  EXPECT_EQ(entry->pick(0)->coding, Coding::IDENTITY);
  EXPECT_EQ(entry->pick(ACCEPT_GZIP)->coding, Coding::GZIP);
  EXPECT_EQ(entry->pick(ACCEPT_ZSTD)->coding, Coding::ZSTD);
  EXPECT_EQ(entry->pick(ACCEPT_ZSTD | ACCEPT_GZIP)->coding, Coding::GZIP);
  EXPECT_EQ(entry->pick(7)->coding, Coding::BR);
  entry->unpin();
}

TEST(Entry, without_an_identity_variant_a_plain_request_gets_none) {
  World w;
  Body* body = w.body("x");
  EntryBuilder builder;
  ASSERT_TRUE(builder.add({.coding = Coding::GZIP, .head = "H", .body = body}));
  Entry* entry = builder.build(w.ledger);
  body->unpin();
  EXPECT_EQ(entry->pick(0), nullptr);
  EXPECT_EQ(entry->pick(ACCEPT_BR), nullptr);
  EXPECT_NE(entry->pick(ACCEPT_GZIP), nullptr);
  entry->unpin();
}

TEST(EntryBuilder, refuses_what_cannot_be_stored) {
  World w;
  Body* body = w.body("x");
  EntryBuilder builder;
  EXPECT_EQ(builder.build(w.ledger), nullptr) << "no variant";
  EXPECT_FALSE(builder.add({.head = std::string(70'000, 'h'), .body = body}));
  EXPECT_FALSE(builder.add({.head = "short", .date_offset = 2, .body = body}));
  EXPECT_FALSE(builder.add({.head = "no body"}));
  Body* open = w.store.create(1);
  EXPECT_FALSE(builder.add({.head = "H", .body = open}));
  ASSERT_TRUE(builder.add({.head = "H", .body = body}));
  const std::string target(KEY_PART_BYTES_MAX + 1, 't');
  builder.key.target = target;
  EXPECT_EQ(builder.build(w.ledger), nullptr);
  open->unpin();
  body->unpin();
  EXPECT_EQ(w.ledger.transient(), 0u);
}

TEST(ValidityTable, hands_out_cells_until_there_are_none_and_never_revives) {
  ValidityTable table(3);
  const Validity a = table.allocate();
  const Validity b = table.allocate();
  EXPECT_EQ(table.allocate(), Validity{});
  EXPECT_NE(a.cell, b.cell);
  EXPECT_EQ(table.cells_used(), 2u);
  EXPECT_TRUE(table.fresh(a));
  table.free(a.cell);
  EXPECT_FALSE(table.fresh(a));
  const Validity again = table.allocate();
  EXPECT_EQ(again.cell, a.cell);
  EXPECT_FALSE(table.fresh(a)) << "the former owner's entries stay stale";
  EXPECT_TRUE(table.fresh(again));
  EXPECT_TRUE(table.fresh(Validity{})) << "cell 0 never changes";
}

TEST(Verdict, every_one_has_a_code_of_its_own_and_a_sentence) {
  std::set<std::string_view> codes;
  for (size_t i = 0; i < VERDICT_COUNT; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    EXPECT_TRUE(codes.insert(verdict_code(verdict)).second) << verdict_code(verdict);
    EXPECT_GT(verdict_sentence(verdict).size(), 15u);
    EXPECT_EQ(verdict_is_hit(verdict), verdict_code(verdict).starts_with("hit"));
    for (const char c : verdict_code(verdict))
      EXPECT_TRUE((c >= 'a' && c <= 'z') || c == '-' || (c >= '0' && c <= '9'));
  }
  EXPECT_GE(VERDICT_COUNT, 20u);
}

}  // namespace
}  // namespace penstock::cache_test
