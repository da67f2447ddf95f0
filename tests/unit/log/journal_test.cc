#include "tests/unit/log/journal_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock {
namespace {

using namespace log_test;

TEST(Journal, begin_record_shows_the_request_before_its_head_is_parsed) {
  Pair pair;
  const std::string raw = "GET /secret HTTP/1.1\r\nHo";
  pair.journal->set_wall({0}, {1'000'000});
  const JournalSlot slot = pair.journal->begin({5000}, facts(9), 1, 3, raw);
  ASSERT_TRUE(slot.valid());

  const std::vector<InFlightRequest> open = JournalReader(pair.watch_map).in_flight();
  ASSERT_EQ(open.size(), 1U);
  EXPECT_EQ(open[0].stage, Stage::DECODE);
  EXPECT_EQ(open[0].excerpt, raw);
  EXPECT_EQ(open[0].target, "");
  EXPECT_EQ(open[0].connection, 9U);
  EXPECT_EQ(open[0].generation, 3U);
  EXPECT_EQ(open[0].begin.ns, 5000);
  EXPECT_EQ(open[0].begin_wall.ns, 1'005'000);
  EXPECT_EQ(open[0].moments[static_cast<size_t>(Moment::ACCEPT)], 1000);
  EXPECT_EQ(address_text(open[0].client), "192.0.2.7");
  EXPECT_FALSE(open[0].torn);
}

TEST(Journal, stage_stamps_its_moment_once_and_moves_the_stage_word) {
  Pair pair;
  const JournalSlot slot = begin_one(*pair.journal, "/a", {100});
  pair.journal->stage(slot, Stage::LOOKUP, {200});
  pair.journal->stage(slot, Stage::QUEUED, {300});
  pair.journal->stage(slot, Stage::QUEUED, {400});
  const InFlightRequest open = JournalReader(pair.watch_map).in_flight().at(0);
  EXPECT_EQ(open.stage, Stage::QUEUED);
  EXPECT_EQ(open.moments[static_cast<size_t>(Moment::HEAD_COMPLETE)], 200);
  EXPECT_EQ(open.moments[static_cast<size_t>(Moment::QUEUED)], 300);
  EXPECT_EQ(open.moments[static_cast<size_t>(Moment::DEQUEUED)], 0);
  EXPECT_EQ(open.method, "GET");
  EXPECT_EQ(open.target, "/a");
  EXPECT_EQ(open.host, "example.org");
}

TEST(Journal, names_the_worker_that_has_the_request_and_forgets_it_with_the_request) {
  Pair pair;
  const JournalSlot slot = begin_one(*pair.journal, "/a", {100});
  const JournalReader reader(pair.watch_map);
  EXPECT_EQ(reader.in_flight().at(0).worker, 0U);
  pair.journal->worker(slot, 4711, {200});
  EXPECT_EQ(reader.in_flight().at(0).worker, 4711U);
  EXPECT_EQ(reader.in_flight().at(0).stage, Stage::WORKER);
  EXPECT_EQ(reader.in_flight().at(0).moments[static_cast<size_t>(Moment::DEQUEUED)], 200);
  pair.journal->worker(slot, 0, {300});
  EXPECT_EQ(reader.in_flight().at(0).worker, 0U);
  EXPECT_EQ(reader.in_flight().at(0).stage, Stage::QUEUED);
  pair.journal->worker(slot, 4712, {400});
  pair.journal->stage(slot, Stage::DELIVER, {450});
  pair.journal->worker_done(slot, {455});
  EXPECT_EQ(reader.in_flight().at(0).worker, 0U);
  EXPECT_EQ(reader.in_flight().at(0).stage, Stage::DELIVER);
  pair.journal->worker(slot, 4713, {460});
  pair.journal->end(slot, {500}, {});
  (void)begin_one(*pair.journal, "/b", {600});  // takes the same slot
  EXPECT_EQ(reader.in_flight().at(0).worker, 0U);
}

TEST(Journal, says_how_many_bytes_came_and_went_so_far) {
  Pair pair;
  const JournalReader reader(pair.watch_map);
  JournalSlot slot = begin_one(*pair.journal, "/a", {100});
  pair.journal->bytes_in(slot, 7000);
  pair.journal->bytes_out(slot, 9);
  EXPECT_EQ(reader.in_flight().at(0).bytes_in, 7000U);
  EXPECT_EQ(reader.in_flight().at(0).bytes_out, 9U);
  pair.journal->end(slot, {500}, {});
  slot = begin_one(*pair.journal, "/b", {600});  // takes the same slot
  EXPECT_EQ(reader.in_flight().at(0).bytes_in + reader.in_flight().at(0).bytes_out, 0U);
}

TEST(Journal, remembers_of_a_worker_what_has_left_it_lately_until_the_next_request_needs_the_place) {
  Pair pair;
  const JournalReader reader(pair.watch_map);
  const JournalSlot ended = begin_one(*pair.journal, "/ended", {100});
  const JournalSlot open = begin_one(*pair.journal, "/open", {110});
  pair.journal->worker(ended, 4711, {200});
  pair.journal->worker(open, 4711, {210});
  pair.journal->worker_done(ended, {300});
  pair.journal->end(ended, {310}, {});
  EXPECT_EQ(reader.in_flight_of(4711).size(), 1U);
  const auto both = reader.inside_since(4711, {300});
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0].target, "/open");
  EXPECT_FALSE(both[0].left);
  EXPECT_EQ(both[1].target, "/ended");
  EXPECT_TRUE(both[1].left);
  EXPECT_EQ(reader.inside_since(4711, {301}).size(), 1U) << "it had left before";
  EXPECT_TRUE(reader.inside_since(4712, {0}).empty());
  (void)begin_one(*pair.journal, "/next", {400});
  EXPECT_EQ(reader.inside_since(4711, {0}).size(), 1U);
}

TEST(Journal, end_record_carries_everything_and_frees_the_slot) {
  Pair pair;
  const JournalSlot slot = begin_one(*pair.journal, "/a?b=c", {100});
  pair.journal->moment(slot, Moment::FIRST_BYTE_OUT, {700});
  pair.journal->moment_again(slot, Moment::LAST_BYTE_OUT, {800});
  pair.journal->moment_again(slot, Moment::LAST_BYTE_OUT, {900});
  Outcome outcome = ok_outcome();
  outcome.user = "anna";
  outcome.client_subject = "CN=anna";
  outcome.client_fingerprint = "00ff";
  outcome.flags = RECORD_KEEP_ALIVE;
  pair.journal->end(slot, {1000}, outcome);
  EXPECT_TRUE(JournalReader(pair.watch_map).in_flight().empty());

  const EndRecordView* record = pair.ring->next();
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->head.kind, RecordKind::REQUEST);
  EXPECT_EQ(record->text(Text::method), "GET");
  EXPECT_EQ(record->text(Text::target), "/a?b=c");
  EXPECT_EQ(record->text(Text::host), "example.org");
  EXPECT_EQ(record->text(Text::user_agent), "test/1.0");
  EXPECT_EQ(record->text(Text::referer), "http://r/");
  EXPECT_EQ(record->text(Text::site), "main");
  EXPECT_EQ(record->text(Text::user), "anna");
  EXPECT_EQ(record->text(Text::client_subject), "CN=anna");
  EXPECT_EQ(record->text(Text::client_fingerprint), "00ff");
  EXPECT_EQ(record->head.status, 200);
  EXPECT_EQ(record->head.body_bytes_out, 1024U);
  EXPECT_EQ(record->head.flags, RECORD_KEEP_ALIVE);
  EXPECT_EQ(record->head.moments[static_cast<size_t>(Moment::FIRST_BYTE)], 100);
  EXPECT_EQ(record->head.moments[static_cast<size_t>(Moment::LAST_BYTE_OUT)], 900);
  EXPECT_EQ(record->head.moments[static_cast<size_t>(Moment::FINISH)], 1000);
  EXPECT_EQ(pair.ring->next(), nullptr);
  EXPECT_EQ(pair.journal->open_count(), 0U);
}

TEST(Journal, head_in_pieces_keeps_growing_its_excerpt_up_to_the_limit) {
  Pair pair;
  const std::string raw = request_head("/" + std::string(2000, 'x'));
  const JournalSlot slot = pair.journal->begin({1}, facts(), 1, 1, raw.substr(0, 1));
  pair.journal->extend(slot, std::string_view(raw).substr(0, 50));
  EXPECT_EQ(JournalReader(pair.watch_map).in_flight().at(0).excerpt, raw.substr(0, 50));
  pair.journal->extend(slot, raw);
  EXPECT_EQ(JournalReader(pair.watch_map).in_flight().at(0).excerpt, raw.substr(0, Slot::EXCERPT_MAX));
}

TEST(Journal, strings_beyond_the_excerpt_reach_the_finish_record_whole) {
  Pair pair(4);
  const std::string target = "/" + std::string(5000, 'x');
  for (int round = 0; round < 3; ++round) {
    pair.journal->end(begin_one(*pair.journal, target, {1}), {2}, ok_outcome());
    const EndRecordView* record = pair.ring->next();
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->text(Text::target), target);
    EXPECT_EQ(record->text(Text::user_agent), "test/1.0");
    EXPECT_EQ(record->head.flags & RECORD_TRUNCATED, 0);
    pair.ring->acknowledge(1);
  }
}

TEST(Journal, a_string_above_its_limit_is_cut_and_marked) {
  Pair pair(4);
  pair.journal->end(begin_one(*pair.journal, "/" + std::string(20000, 'x'), {1}), {2}, ok_outcome());
  const EndRecordView* record = pair.ring->next();
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->text(Text::target).size(), TEXT_BYTES_MAX[static_cast<size_t>(Text::target)]);
  EXPECT_NE(record->head.flags & RECORD_TRUNCATED, 0);
  EXPECT_EQ(pair.journal->open_count(), 0U);
  EXPECT_EQ(pair.watch_map.counters().journal_truncated.get(), 1U);
}

TEST(Journal, when_every_slot_is_taken_begin_refuses_and_counts) {
  Pair pair(2);
  const JournalSlot a = begin_one(*pair.journal, "/1", {1});
  const JournalSlot b = begin_one(*pair.journal, "/2", {1});
  EXPECT_TRUE(a.valid() && b.valid());
  EXPECT_FALSE(begin_one(*pair.journal, "/3", {1}).valid());
  EXPECT_EQ(pair.watch_map.counters().journal_slots_exhausted.get(), 1U);
  pair.journal->end(a, {2}, ok_outcome());
  EXPECT_TRUE(begin_one(*pair.journal, "/4", {3}).valid());
}

TEST(Journal, a_full_ring_drops_the_record_counts_it_and_frees_the_slot) {
  Pair pair;
  uint64_t finished = 0;
  while (pair.journal->ring_fill() < 900 || finished < 50) {
    pair.journal->end(begin_one(*pair.journal, "/x", {1}), {2}, ok_outcome());
    ++finished;
    ASSERT_LT(finished, 1000U);
  }
  for (int i = 0; i < 20; ++i, ++finished) pair.journal->end(begin_one(*pair.journal, "/y", {1}), {2}, ok_outcome());
  uint64_t read = 0;
  while (pair.ring->next() != nullptr) ++read;
  const uint64_t dropped = pair.watch_map.producer().dropped.load();
  EXPECT_GT(dropped, 0U);
  EXPECT_EQ(read + dropped, finished);
  EXPECT_EQ(pair.watch_map.counters().journal_drops.get(), dropped);
  EXPECT_EQ(pair.journal->open_count(), 0U);

  pair.ring->acknowledge(read);
  pair.journal->end(begin_one(*pair.journal, "/after", {1}), {2}, ok_outcome());
  const EndRecordView* record = pair.ring->next();
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->text(Text::target), "/after");
  EXPECT_EQ(pair.ring->gap_before(), dropped);  // logd sees exactly what is missing
}

// log.access.on_full = refuse.
TEST(Journal, refuses_in_time_for_the_records_of_what_is_open_and_then_writes_no_refusals) {
  Pair pair(64, 1U << 17);
  EXPECT_FALSE(pair.journal->log_is_full());
  const auto finish_one = [&pair](const Outcome& outcome) {
    pair.journal->end(begin_one(*pair.journal, "/x", {1}), {2}, outcome);
  };
  std::vector<JournalSlot> open;
  for (int i = 0; i < 20; ++i) open.push_back(begin_one(*pair.journal, "/open", {1}));
  pair.journal->set_refusing(true);
  uint64_t finished = 0;
  for (; !pair.journal->log_is_full(); ++finished) finish_one(ok_outcome());
  const uint64_t filled = pair.watch_map.producer().head.load();
  EXPECT_GT(filled, (1U << 17) / 2);
  EXPECT_LT(filled, (1U << 17) / 4 * 3);

  Outcome refusal = ok_outcome();
  refusal.expendable = true;
  for (int i = 0; i < 500; ++i) finish_one(refusal);
  EXPECT_EQ(pair.watch_map.producer().head.load(), filled);
  for (const JournalSlot slot : open) pair.journal->end(slot, {2}, ok_outcome());
  EXPECT_EQ(pair.watch_map.producer().dropped.load(), 500U);  // the refusals, and nothing else
  EXPECT_EQ(pair.watch_map.counters().journal_drops.get(), 500U);

  pair.journal->set_refusing(false);
  EXPECT_FALSE(pair.journal->log_is_full());
  finish_one(refusal);  // nothing is refused any more, so nothing is expendable
  pair.journal->set_refusing(true);
  for (; !pair.journal->log_is_full(); ++finished) finish_one(ok_outcome());
  uint64_t read = 0;
  while (pair.ring->next() != nullptr) ++read;
  EXPECT_EQ(read, finished + open.size() + 1);
  pair.ring->acknowledge(read);
  EXPECT_FALSE(pair.journal->log_is_full());
}

TEST(Journal, a_tail_that_cannot_be_is_not_believed) {
  Pair pair;
  for (int i = 0; i < 1000; ++i) {
    if (i == 500) pair.drain_map.ack().tail.store(UINT64_MAX - 63);
    if (i == 700) pair.drain_map.ack().tail.store(1ULL << 40);
    pair.journal->end(begin_one(*pair.journal, "/x", {1}), {2}, ok_outcome());
  }
  EXPECT_LE(pair.watch_map.producer().head.load(), pair.watch_map.header().ring_bytes);
}

TEST(Journal, without_recording_the_ring_stays_untouched_and_slots_work) {
  Pair pair;
  pair.journal->set_recording(false);
  const JournalSlot slot = begin_one(*pair.journal, "/x", {1});
  EXPECT_EQ(JournalReader(pair.watch_map).in_flight().size(), 1U);
  pair.journal->end(slot, {2}, ok_outcome());
  EXPECT_EQ(pair.ring->next(), nullptr);
  EXPECT_EQ(pair.watch_map.producer().head.load(), 0U);
  EXPECT_EQ(pair.watch_map.counters().responses_2xx.get(), 1U);
}

TEST(Journal, a_connection_without_a_request_leaves_one_record) {
  Pair pair;
  Outcome outcome;
  outcome.status = 503;
  outcome.reason = 77;
  pair.journal->connection({5}, facts(4), 3, outcome);
  const EndRecordView* record = pair.ring->next();
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->head.kind, RecordKind::CONNECTION);
  EXPECT_EQ(record->head.connection, 4U);
  EXPECT_EQ(record->head.reason, 77);
  EXPECT_EQ(record->head.status, 503);
  EXPECT_EQ(record->text(Text::method), "");
  EXPECT_EQ(record->head.begin_mono, 5);
}

TEST(Journal, what_a_dead_server_left_open_is_listed_and_then_logged_once) {
  Pair pair;
  const JournalSlot a = begin_one(*pair.journal, "/killer", {1});
  pair.journal->stage(a, Stage::WORKER, {2});
  (void)begin_one(*pair.journal, "/innocent", {3});
  pair.journal->end(begin_one(*pair.journal, "/done", {4}), {5}, ok_outcome());
  pair.restart_server();

  const std::vector<InFlightRequest> open = JournalReader(pair.watch_map).in_flight();
  ASSERT_EQ(open.size(), 2U);
  EXPECT_EQ(open[0].target, "/killer");
  EXPECT_EQ(open[0].stage, Stage::WORKER);
  EXPECT_EQ(open[1].target, "/innocent");

  EXPECT_EQ(pair.journal->close_abandoned({9}, 55), 2U);
  EXPECT_TRUE(JournalReader(pair.watch_map).in_flight().empty());
  ASSERT_EQ(pair.ring->next()->text(Text::target), "/done");
  for (const char* target : {"/killer", "/innocent"}) {
    const EndRecordView* record = pair.ring->next();
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->text(Text::target), target);
    EXPECT_EQ(record->head.flags, RECORD_ABANDONED);
    EXPECT_EQ(record->head.reason, 55);
    EXPECT_EQ(record->head.status, 0);
  }
  EXPECT_EQ(pair.ring->next(), nullptr);
  // Sequence numbers and connection ids go on without repeating.
  (void)begin_one(*pair.journal, "/next", {10});
  EXPECT_EQ(JournalReader(pair.watch_map).in_flight().at(0).seq_start, 3U);
}

TEST(Journal, a_server_that_dies_between_record_and_slot_is_not_logged_twice) {
  Pair pair;
  const JournalSlot slot = begin_one(*pair.journal, "/x", {1});
  pair.journal->end(slot, {2}, ok_outcome());
  // The instant before release(): the record is published, the slot still shows the request.
  pair.reactor_map.slot(slot.index).stage.store(static_cast<uint32_t>(Stage::DELIVER));
  pair.restart_server();
  EXPECT_EQ(pair.journal->close_abandoned({9}, 55), 0U);
  EXPECT_NE(pair.ring->next(), nullptr);
  EXPECT_EQ(pair.ring->next(), nullptr);
  EXPECT_TRUE(JournalReader(pair.watch_map).in_flight().empty());
}

TEST(Journal, connection_ids_differ_between_incarnations_and_reactors) {
  Pair a(4, RING_BYTES_MIN, 0);
  Pair b(4, RING_BYTES_MIN, 1);
  const uint64_t first = a.journal->next_connection_id();
  EXPECT_NE(first, b.journal->next_connection_id());
  a.restart_server();
  EXPECT_NE(first, a.journal->next_connection_id());
}

TEST(Journal, bell_rings_once_per_sleep_and_never_while_logd_is_awake) {
  UniqueFd bell(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  Pair pair(64, RING_BYTES_MIN, 0, bell.get());
  const auto rung = [&] {
    uint64_t count = 0;
    return ::read(bell.get(), &count, sizeof(count)) == 8 ? count : 0;
  };
  const auto one = [&] {
    pair.journal->end(begin_one(*pair.journal, "/x", {1}), {2}, ok_outcome());
    pair.journal->turn_end();
  };
  one();
  EXPECT_EQ(rung(), 0U);
  pair.ring->announce(DrainState::ASLEEP);
  pair.journal->turn_end();  // nothing new since the last turn
  EXPECT_EQ(rung(), 0U);
  one();
  one();
  EXPECT_EQ(rung(), 1U);
  pair.ring->announce(DrainState::ASLEEP);
  one();
  EXPECT_EQ(rung(), 1U);
  pair.ring->announce(DrainState::DOZING);
  one();
  EXPECT_EQ(rung(), 0U);
  while (pair.journal->ring_fill() < 600) one();
  EXPECT_EQ(rung(), 1U);
}

TEST(Journal, counters_follow_the_records) {
  Pair pair;
  const JournalSlot slot = begin_one(*pair.journal, "/x", {1});
  EXPECT_EQ(pair.watch_map.counters().requests_open.get(), 1U);
  Outcome outcome = ok_outcome();
  outcome.status = 404;
  pair.journal->end(slot, {2}, outcome);
  const CounterValues values = read_counters(pair.watch_map.counters());
  uint64_t seen = 0;
  for (size_t i = 0; i < COUNTER_COUNT; ++i) {
    if (COUNTER_INFO[i].name == "responses_4xx" || COUNTER_INFO[i].name == "requests") seen += values[i];
    if (COUNTER_INFO[i].name == "requests_open") {
      EXPECT_EQ(values[i], 0U);
    }
  }
  EXPECT_EQ(seen, 2U);
}

TEST(JournalReader, sees_each_request_whole_while_another_process_rewrites_the_slots) {
  Pair pair(2);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // Each target is one letter repeated, as long as its request number says.
    for (uint32_t i = 1; i < 400'000; ++i) {
      const std::string raw(1 + i % 600, static_cast<char>('a' + i % 26));
      const JournalSlot slot = pair.journal->begin({i}, facts(i), i, i, raw);
      pair.journal->head(slot, raw, {.target = raw});
      pair.journal->end(slot, {i}, ok_outcome());
    }
    ::_exit(0);
  }
  const JournalReader reader(pair.watch_map);
  uint64_t whole = 0;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    for (const InFlightRequest& request : reader.in_flight()) {
      if (request.torn) continue;
      const uint32_t i = request.request_number;
      ASSERT_EQ(request.connection, i);
      ASSERT_EQ(request.generation, i);
      ASSERT_EQ(request.excerpt, std::string(1 + i % 600, static_cast<char>('a' + i % 26)));
      if (!request.target.empty()) {
        ASSERT_EQ(request.target, request.excerpt);
      }
      ++whole;
    }
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_GT(whole, 0U);
}

TEST(JournalReader, spoiled_slots_are_reported_without_reading_out_of_bounds) {
  Pair pair;
  const JournalSlot handle = begin_one(*pair.journal, "/x", {1});
  Slot& slot = pair.reactor_map.slot(handle.index);
  slot.stage.store(0xdeadbeef);
  slot.excerpt_bytes = 0xffff;
  slot.texts[0] = {0xffff, 0xffff};
  slot.texts[1] = {831, 2};
  const InFlightRequest open = JournalReader(pair.watch_map).in_flight().at(0);
  EXPECT_TRUE(open.torn);
  EXPECT_EQ(open.excerpt.size(), Slot::EXCERPT_MAX);
  EXPECT_EQ(open.method, "");
  EXPECT_EQ(open.target, "");
  slot.version.store(1);  // died inside a rewrite
  EXPECT_TRUE(JournalReader(pair.watch_map).in_flight().at(0).torn);
  pair.reactor_map.producer().slots_used.store(UINT64_MAX);
  EXPECT_EQ(JournalReader(pair.watch_map).in_flight().size(), 1U);
}

TEST(JournalMemory, a_reader_cannot_write_and_nobody_can_resize) {
  Pair pair;
  const UniqueFd reader = read_only(pair.memory.data.get()).value();
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader.get(), 0), MAP_FAILED);
  EXPECT_TRUE(JournalMap::map(reader.get(), pair.memory.ack.get(), JournalAccess::DRAIN).has_value());
  EXPECT_FALSE(JournalMap::map(reader.get(), pair.memory.ack.get(), JournalAccess::REACTOR).has_value());
  EXPECT_NE(::ftruncate(pair.memory.data.get(), 0), 0);
  EXPECT_NE(::ftruncate(pair.memory.ack.get(), 1 << 20), 0);
}

TEST(JournalMemory, impossible_geometries_and_foreign_headers_are_refused) {
  EXPECT_FALSE(create_journal_memory({.slot_count = 0}).has_value());
  EXPECT_FALSE(create_journal_memory({.ring_bytes = RING_BYTES_MIN + 64}).has_value());
  EXPECT_FALSE(create_journal_memory({.ring_bytes = RING_BYTES_MIN / 2}).has_value());
  for (const size_t offset : {0UL, 8UL, 24UL, 28UL, 32UL, 40UL, 48UL, 56UL}) {
    Pair pair;
    const uint32_t spoiled = 0x7fffff01;
    ASSERT_EQ(::pwrite(pair.memory.data.get(), &spoiled, 4, static_cast<off_t>(offset)), 4);
    EXPECT_FALSE(JournalMap::map(pair.memory.data.get(), pair.memory.ack.get(), JournalAccess::WATCH).has_value())
        << offset;
  }
}

TEST(JournalAddress, takes_every_family_and_prints_it) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(80);
  v4.sin_addr.s_addr = htonl(0x7f000001);
  EXPECT_EQ(address_text(journal_address(reinterpret_cast<const sockaddr*>(&v4))), "127.0.0.1");
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(443);
  ASSERT_EQ(::inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr), 1);
  EXPECT_EQ(address_text(journal_address(reinterpret_cast<const sockaddr*>(&v6))), "2001:db8::1");
  EXPECT_EQ(journal_address(reinterpret_cast<const sockaddr*>(&v6)).port, 443);
  ASSERT_EQ(::inet_pton(AF_INET6, "::ffff:192.0.2.9", &v6.sin6_addr), 1);
  EXPECT_EQ(address_text(journal_address(reinterpret_cast<const sockaddr*>(&v6))), "192.0.2.9");
  EXPECT_EQ(address_text(journal_address(nullptr)), "-");
}

}  // namespace
}  // namespace penstock
