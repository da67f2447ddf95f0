#include "tests/unit/files/load_fixture.h"

#include <algorithm>
#include <sys/stat.h>
#include <vector>

namespace penstock {
namespace {

using Loading = LoadFixture;

TEST_F(Loading, reads_a_file_whole) {
  const std::string bytes(300'000, 'x');
  dir.write("a.html", bytes);
  LoadResult result = load("a.html");
  EXPECT_EQ(result.kind, LoadKind::FILE);
  EXPECT_EQ(text(result), bytes);
  EXPECT_EQ(result.content_type, "text/html; charset=utf-8");
  EXPECT_TRUE(result.cacheable);
  EXPECT_EQ(result.verdict, Verdict::FILL_LED);
  EXPECT_TRUE(cells.fresh(result.validity));
  EXPECT_NE(result.validity.cell, 0U);
  result.discard(*reader);
}

TEST_F(Loading, reads_an_empty_file) {
  dir.write("empty.txt", "");
  LoadResult result = load("empty.txt");
  EXPECT_EQ(result.kind, LoadKind::FILE);
  EXPECT_EQ(result.variants[0].body->size(), 0U);
  EXPECT_TRUE(result.cacheable);
  result.discard(*reader);
}

TEST_F(Loading, does_not_watch_what_is_not_to_be_cached) {
  dir.write("a.txt", "a");
  LoadResult result = load("a.txt", false);
  EXPECT_EQ(result.kind, LoadKind::FILE);
  EXPECT_FALSE(result.cacheable);
  EXPECT_EQ(result.verdict, Verdict::MISS_FIRST);
  EXPECT_EQ(watch->counters().watched, 0U);
  result.discard(*reader);
}

TEST_F(Loading, names_every_way_to_fail) {
  dir.make_dir("d");
  dir.write("d/a.txt", "a");
  dir.write("d/.secret", "s");
  ASSERT_EQ(::mkfifo(dir.at("pipe").c_str(), 0644), 0);
  dir.link_to("../../etc/passwd", "up");
  dir.link_to("/etc/passwd", "absolute");
  dir.link_to("loop", "loop");
  EXPECT_EQ(kind("none"), LoadKind::NOT_FOUND);
  EXPECT_EQ(kind("d/a.txt/b"), LoadKind::NOT_FOUND);
  EXPECT_EQ(kind("d/a.txt/"), LoadKind::NOT_FOUND);
  EXPECT_EQ(kind("d"), LoadKind::REDIRECT_SLASH);
  EXPECT_EQ(kind("d/"), LoadKind::NO_INDEX);
  EXPECT_EQ(kind("d/.secret"), LoadKind::HIDDEN);
  EXPECT_EQ(kind(".git/config"), LoadKind::HIDDEN);
  EXPECT_EQ(kind("../x"), LoadKind::ESCAPES_ROOT);
  EXPECT_EQ(kind("d/../d/a.txt"), LoadKind::ESCAPES_ROOT);
  EXPECT_EQ(kind("up"), LoadKind::ESCAPES_ROOT);
  EXPECT_EQ(kind("absolute"), LoadKind::ESCAPES_ROOT);
  EXPECT_EQ(kind("loop"), LoadKind::LINK_FORBIDDEN);
  EXPECT_EQ(kind("pipe"), LoadKind::NOT_A_FILE);
  EXPECT_EQ(kind(std::string(300, 'n')), LoadKind::NAME_TOO_LONG);
  EXPECT_EQ(kind(std::string_view("a\0b", 3)), LoadKind::NOT_FOUND);
  EXPECT_EQ(loader->loads(), 0U);
}

TEST_F(Loading, serves_dotfiles_only_where_the_policy_says_so_and_well_known_always) {
  dir.make_dir(".well-known");
  dir.make_dir("d");
  dir.make_dir("d/.well-known");
  dir.write(".well-known/security.txt", "s");
  dir.write("d/.well-known/x.txt", "x");
  EXPECT_EQ(kind(".well-known/security.txt"), LoadKind::FILE);
  EXPECT_EQ(kind("d/.well-known/x.txt"), LoadKind::HIDDEN);
  policy.dotfiles = true;
  EXPECT_EQ(kind("d/.well-known/x.txt"), LoadKind::FILE);
}

TEST_F(Loading, takes_the_first_index_document_that_is_a_file) {
  dir.make_dir("index.html");
  dir.write("index.htm", "second");
  LoadResult result = load("");
  EXPECT_EQ(result.kind, LoadKind::FILE);
  EXPECT_EQ(text(result), "second");
  EXPECT_EQ(result.index, 1);
  result.discard(*reader);
}

TEST_F(Loading, an_index_document_that_appears_makes_the_old_one_stale) {
  dir.write("index.htm", "second");
  LoadResult result = load("");
  ASSERT_TRUE(result.cacheable);
  take_events();
  EXPECT_TRUE(cells.fresh(result.validity));
  dir.write("index.html", "first");
  take_events();
  EXPECT_FALSE(cells.fresh(result.validity));
  result.discard(*reader);
}

TEST_F(Loading, refuses_unknown_types_where_the_policy_denies_them) {
  dir.write("a.unknown", "a");
  EXPECT_EQ(kind("a.unknown"), LoadKind::FILE);
  policy.unknown_type = UnknownTypePolicy::DENY;
  EXPECT_EQ(kind("a.unknown"), LoadKind::UNKNOWN_TYPE);
}

TEST_F(Loading, streams_what_is_too_large_for_an_entry) {
  policy.entry_bytes_max = 1000;
  dir.write("big.bin", std::string(1001, 'b'));
  LoadResult result = load("big.bin");
  ASSERT_EQ(result.kind, LoadKind::STREAM);
  EXPECT_EQ(result.verdict, Verdict::TOO_LARGE);
  EXPECT_GE(result.variants[0].fd, 0);
  EXPECT_EQ(result.variants[0].info.size, 1001U);
  FileInfo now_info;
  ASSERT_EQ(reader->stat(result.variants[0].fd, now_info), 0);
  EXPECT_TRUE(same_version(now_info, result.variants[0].info));
  dir.write("big.bin", std::string(1001, 'c'));
  ASSERT_EQ(reader->stat(result.variants[0].fd, now_info), 0);
  EXPECT_FALSE(same_content(result.variants[0].info, now_info));
  EXPECT_EQ(watch->counters().watched, 0U);
  result.discard(*reader);
}

TEST_F(Loading, a_streamed_file_stays_the_same_content_when_it_is_replaced_or_its_mode_changes) {
  policy.entry_bytes_max = 10;
  dir.write("big.bin", "eleven bytes");
  LoadResult result = load("big.bin");
  ASSERT_EQ(result.kind, LoadKind::STREAM);
  FileInfo later;
  ASSERT_EQ(::chmod(dir.at("big.bin").c_str(), 0600), 0);
  ASSERT_EQ(reader->stat(result.variants[0].fd, later), 0);
  EXPECT_TRUE(same_content(result.variants[0].info, later));
  dir.replace("big.bin", "another");
  ASSERT_EQ(reader->stat(result.variants[0].fd, later), 0);
  EXPECT_FALSE(same_version(result.variants[0].info, later));
  EXPECT_TRUE(same_content(result.variants[0].info, later));
  result.discard(*reader);
}

TEST_F(Loading, streams_a_large_file_that_is_not_admitted) {
  dir.write("a.bin", std::string(policy.sendfile_bytes_min, 'a'));
  LoadResult result = load("a.bin", false);
  EXPECT_EQ(result.kind, LoadKind::STREAM);
  EXPECT_EQ(result.verdict, Verdict::STREAMED);
  result.discard(*reader);
  EXPECT_EQ(kind("a.bin", true), LoadKind::FILE);
}

TEST_F(Loading, is_uncacheable_without_a_watch) {
  Loader blind(*reader, bodies, nullptr, 1);
  loader.reset();
  dir.write("a.txt", "a");
  ASSERT_TRUE(blind.start({.root = root(), .path = "a.txt", .policy = &policy, .admit = true}, 7, clock.now()));
  LoadResult result;
  while (blind.poll(clock.now(), clock.wall(), {&result, 1}) == 0) {
  }
  EXPECT_EQ(result.kind, LoadKind::FILE);
  EXPECT_EQ(result.token, 7U);
  EXPECT_FALSE(result.cacheable);
  EXPECT_EQ(result.verdict, Verdict::UNWATCHABLE);
  result.discard(*reader);
}

TEST_F(Loading, waits_until_a_young_file_has_settled) {
  dir.write("a.txt", "young");
  clock.set_wall(RealClock().wall() + milliseconds(1));
  const MonoTime begun = clock.now();
  LoadResult result = load("a.txt");
  EXPECT_EQ(text(result), "young");
  EXPECT_TRUE(result.cacheable);
  EXPECT_GE(result.retries, 1U);
  EXPECT_GE(clock.now() - begun, milliseconds(10));
  EXPECT_LE(clock.now() - begun, policy.settle * 2);
  result.discard(*reader);
}

TEST_F(Loading, takes_an_empty_young_file_for_one_about_to_be_written) {
  dir.write("a.txt", "");
  clock.set_wall(RealClock().wall());
  const MonoTime begun = clock.now();
  LoadResult result = load("a.txt", false);
  EXPECT_EQ(result.kind, LoadKind::FILE);
  EXPECT_GE(clock.now() - begun, policy.write_hold - policy.settle);
  result.discard(*reader);
}

TEST_F(Loading, waits_until_a_writer_who_was_seen_has_closed) {
  dir.write("a.txt", "before");
  load("a.txt").discard(*reader);  // from now on it is watched
  UniqueFd writer(::open(dir.at("a.txt").c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  TempDir::put(writer.get(), "ha");
  ASSERT_TRUE(start("a.txt", true));
  ASSERT_FALSE(answers_within(policy.write_hold / 8));
  TempDir::put(writer.get(), "lf");
  ASSERT_FALSE(answers_within(policy.write_hold / 8)) << "half of it is not an answer";
  TempDir::put(writer.get(), " and half");
  writer.reset();
  LoadResult result = next();
  EXPECT_EQ(text(result), "half and half");
  EXPECT_TRUE(result.cacheable);
  EXPECT_GE(result.retries, 1U);
  result.discard(*reader);
}

TEST_F(Loading, serves_what_rests_without_a_closing_but_caches_it_only_after_write_hold) {
  dir.write("a.txt", "before");
  load("a.txt").discard(*reader);
  ASSERT_EQ(::truncate(dir.at("a.txt").c_str(), 2), 0);
  ASSERT_TRUE(start("a.txt", true));
  ASSERT_FALSE(answers_within(policy.write_hold / 8));
  LoadResult result = next();
  EXPECT_EQ(text(result), "be");
  EXPECT_FALSE(result.cacheable);
  EXPECT_EQ(result.verdict, Verdict::FILE_CHANGING);
  result.discard(*reader);
  clock.advance(policy.write_hold);
  result = load("a.txt");
  EXPECT_TRUE(result.cacheable);
  EXPECT_EQ(result.retries, 0U);
  result.discard(*reader);
}

TEST_F(Loading, serves_a_file_that_is_written_without_end_and_never_caches_it) {
  dir.write("log.txt", "");
  load("log.txt").discard(*reader);
  const UniqueFd writer(::open(dir.at("log.txt").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  TempDir::put(writer.get(), "line\n");
  ASSERT_TRUE(start("log.txt", true));
  const MonoTime begun = clock.now();
  LoadResult result;
  while (loader->poll(clock.now(), clock.wall(), {&result, 1}) == 0) {
    TempDir::put(writer.get(), "line\n");
    clock.advance(milliseconds(4));
  }
  EXPECT_EQ(result.kind, LoadKind::FILE);
  EXPECT_FALSE(result.cacheable);
  EXPECT_GE(clock.now() - begun, policy.write_hold - milliseconds(10));
  EXPECT_LE(clock.now() - begun, policy.write_hold + milliseconds(50));
  result.discard(*reader);
  // Known for what it is now: nobody waits for it again.
  TempDir::put(writer.get(), "line\n");
  result = load("log.txt");
  EXPECT_EQ(result.retries, 0U);
  EXPECT_TRUE(text(result).ends_with("line\n"));
  EXPECT_FALSE(result.cacheable);
  result.discard(*reader);
}

TEST_F(Loading, takes_a_file_for_unfinished_that_was_created_under_a_name_it_had_watched) {
  dir.write("a.txt", "before");
  load("a.txt").discard(*reader);
  dir.remove("a.txt");
  UniqueFd writer(::open(dir.at("a.txt").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  TempDir::put(writer.get(), "half");
  ASSERT_TRUE(start("a.txt", true));
  ASSERT_FALSE(answers_within(policy.write_hold / 8));
  TempDir::put(writer.get(), " and half");
  writer.reset();
  LoadResult result = next();
  EXPECT_EQ(text(result), "half and half");
  EXPECT_TRUE(result.cacheable);
  result.discard(*reader);
}

// What cannot be known (file_watch.h), and what holds all the same: one moment's file, whole by its own length, until
// the writer goes on.
TEST_F(Loading, takes_a_file_as_it_is_whose_writer_was_never_seen_and_drops_it_with_the_next_write) {
  for (const bool truncates : {true, false}) {
    const std::string name = truncates ? "cut.txt" : "over.txt";
    dir.write(name, "before all of it");
    UniqueFd writer(::open(dir.at(name).c_str(), O_WRONLY | O_CLOEXEC | (truncates ? O_TRUNC : 0)));
    TempDir::put(writer.get(), "half");
    LoadResult result = load(name);  // the clock stands an hour later: he has paused for longer than settle
    EXPECT_EQ(text(result), truncates ? "half" : "halfre all of it");
    EXPECT_EQ(result.variants[0].info.size, text(result).size());
    EXPECT_TRUE(result.cacheable);
    const Validity kept_as = result.validity;
    result.discard(*reader);
    EXPECT_TRUE(cells.fresh(kept_as)) << "nothing has changed: to read it again would give the same";
    TempDir::put(writer.get(), " and");
    take_events();
    EXPECT_FALSE(cells.fresh(kept_as));
    ASSERT_TRUE(start(name, true));
    ASSERT_FALSE(answers_within(policy.write_hold / 8)) << "from now on he is known, and waited for";
    TempDir::put(writer.get(), " half !!");
    writer.reset();
    result = next();
    EXPECT_EQ(text(result), "half and half !!");
    EXPECT_TRUE(result.cacheable);
    result.discard(*reader);
  }
}

TEST_F(Loading, refuses_at_its_bound_and_recovers) {
  dir.write("a.txt", "a");
  for (uint64_t i = 0; i < 16; ++i) EXPECT_TRUE(start("a.txt", false, i));
  EXPECT_FALSE(start("a.txt", false, 99));
  std::vector<uint64_t> tokens;
  for (int i = 0; i < 16; ++i) {
    LoadResult result = next();
    tokens.push_back(result.token);
    result.discard(*reader);
  }
  std::sort(tokens.begin(), tokens.end());
  for (uint64_t i = 0; i < 16; ++i) EXPECT_EQ(tokens[i], i);
  EXPECT_TRUE(start("a.txt", false));
  next().discard(*reader);
}

TEST_F(Loading, gives_everything_back_when_it_ends_in_the_middle) {
  dir.write("a.txt", "a");
  dir.make_dir("d");
  policy.listing = true;
  EXPECT_TRUE(start("a.txt", true));
  EXPECT_TRUE(start("d/", true));
  (void)loader->poll(clock.now(), clock.wall(), {});
  loader.reset();
}

}  // namespace
}  // namespace penstock
