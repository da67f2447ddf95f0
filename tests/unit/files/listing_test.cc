#include "src/files/directory_list.h"
#include "src/files/loader.h"
#include "tests/unit/files/load_fixture.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

FileInfo file_of(uint64_t size, int64_t mtime_s) {
  FileInfo info;
  info.type = FileType::REGULAR;
  info.size = size;
  info.mtime_ns = mtime_s * 1'000'000'000;
  return info;
}
FileInfo directory_of(int64_t mtime_s) {
  FileInfo info = file_of(4096, mtime_s);
  info.type = FileType::DIRECTORY;
  return info;
}

std::string page(const DirectoryList& list, std::string_view url, ListingFormat format, uint32_t slice = 1,
                 std::string_view footer = "") {
  ListingWriter writer;
  writer.begin(list, url, format, footer);
  std::string out;
  while (!writer.write(slice, out)) {
  }
  return out;
}

TEST(DirectoryList, knows_what_no_url_can_name) {
  DirectoryList list;
  list.reset(10, false, {.segment_bytes = 12});
  for (const std::string_view name : {"a.txt", "two words", "\xc3\xbcml", "100%", "q?m#h", "a:b", "twelve-bytes"}) {
    EXPECT_TRUE(list.can_be_asked_for(name)) << name;
  }
  for (const std::string_view name : {"\xff", "a\\b", "a\x01", "a%41", "thirteen-byte"}) {
    EXPECT_FALSE(list.can_be_asked_for(name)) << name;
  }
  list.reset(10, false, {.restricted_chars = true, .double_escape = true, .segment_bytes = 260});
  for (const std::string_view name : {"a\x01", "a%41", "thirteen-byte"})
    EXPECT_TRUE(list.can_be_asked_for(name)) << name;
}

TEST(Listing, json_is_exact) {
  DirectoryList list;
  list.reset(10, false);
  ASSERT_TRUE(list.add("b\"\\\n\xC3\xA9.txt", file_of(12, 0)));
  ASSERT_TRUE(list.add("sub", directory_of(1'700'000'000)));
  ASSERT_TRUE(list.add("bad\xFFname", file_of(1, -1)));
  list.sort();
  EXPECT_EQ(
      page(list, "/x/", ListingFormat::JSON),
      "{\"path\":\"/x/\",\"truncated\":false,\"entries\":[\n"
      "{\"name\":\"sub\",\"type\":\"directory\",\"mtime\":\"2023-11-14T22:13:20Z\"},\n"
      "{\"name\":\"b\\\"\\\\\\u000A\xC3\xA9.txt\",\"type\":\"file\",\"mtime\":\"1970-01-01T00:00:00Z\",\"size\":12},\n"
      "{\"name\":\"bad\xEF\xBF\xBDname\",\"type\":\"file\",\"mtime\":\"1969-12-31T23:59:59Z\",\"size\":1}\n"
      "]}\n");
}

TEST(Listing, html_lets_no_name_become_markup_or_a_scheme) {
  DirectoryList list;
  list.reset(10, false);
  const std::string evil = "<script>alert('x')</script>&\".html";
  ASSERT_TRUE(list.add(evil, file_of(5, 0)));
  ASSERT_TRUE(list.add("javascript:alert(1)", file_of(5, 0)));
  ASSERT_TRUE(list.add("100%?#.txt", file_of(5, 0)));
  const std::string html = page(list, "/<i>/", ListingFormat::HTML, 100, "<p>footer</p>");
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("<i>"), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;.html"), std::string::npos);
  EXPECT_NE(html.find("href=\"./javascript%3Aalert%281%29\""), std::string::npos);
  EXPECT_NE(html.find("href=\"./100%25%3F%23.txt\""), std::string::npos);
  EXPECT_NE(html.find("Index of /&lt;i&gt;/"), std::string::npos);
  EXPECT_NE(html.find("<p>footer</p></body></html>"), std::string::npos);
  EXPECT_NE(html.find("href=\"../\""), std::string::npos);
  EXPECT_EQ(page(list, "/", ListingFormat::HTML).find("href=\"../\""), std::string::npos) << "nothing above the root";
}

TEST(Listing, says_when_it_is_not_whole) {
  DirectoryList list;
  list.reset(1, false);
  EXPECT_TRUE(list.add("a", file_of(1, 0)));
  EXPECT_FALSE(list.add("b", file_of(1, 0)));
  EXPECT_NE(page(list, "/", ListingFormat::JSON).find("\"truncated\":true"), std::string::npos);
  EXPECT_NE(page(list, "/", ListingFormat::HTML).find("Only the first 1 entries"), std::string::npos);
}

TEST(Listing, is_the_same_in_one_slice_or_many) {
  DirectoryList list;
  list.reset(1000, false);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(list.add("f" + std::to_string(i), file_of(static_cast<uint64_t>(i), i)));
  list.sort();
  for (const ListingFormat format : {ListingFormat::HTML, ListingFormat::JSON}) {
    EXPECT_EQ(page(list, "/", format, 1), page(list, "/", format, 1000));
    EXPECT_EQ(page(list, "/", format, 7), page(list, "/", format, 1001));
  }
}

TEST(Listing, of_nothing_is_a_page_too) {
  DirectoryList list;
  list.reset(10, false);
  EXPECT_EQ(page(list, "/", ListingFormat::JSON), "{\"path\":\"/\",\"truncated\":false,\"entries\":[\n]}\n");
}

TEST(Escaping, replaces_what_is_not_utf8) {
  const std::string_view bad[] = {"\x80", "\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8"};
  for (const std::string_view text : bad) {
    std::string html;
    append_html_escaped(text, html);
    EXPECT_NE(html.find("\xEF\xBF\xBD"), std::string::npos);
    EXPECT_EQ(html.find(text), std::string::npos);
  }
  std::string good;
  append_html_escaped("\xC2\xA0\xE2\x82\xAC\xF0\x9F\x98\x80", good);
  EXPECT_EQ(good, "\xC2\xA0\xE2\x82\xAC\xF0\x9F\x98\x80");
}

using ListingLoad = LoadFixture;

TEST_F(ListingLoad, lists_a_directory_where_the_policy_says_so) {
  dir.make_dir("d");
  dir.write("d/a.txt", "a");
  dir.write("d/.hidden", "h");
  EXPECT_EQ(kind("d/"), LoadKind::NO_INDEX);
  policy.listing = true;
  policy.listing_format = ListingFormat::JSON;
  LoadResult result = load("d/");
  ASSERT_EQ(result.kind, LoadKind::LISTING);
  EXPECT_EQ(result.content_type, "application/json");
  EXPECT_FALSE(result.cacheable);
  EXPECT_NE(text(result).find("\"path\":\"/d/\""), std::string::npos);
  EXPECT_NE(text(result).find("\"name\":\"a.txt\""), std::string::npos);
  EXPECT_EQ(text(result).find("hidden"), std::string::npos);
  result.discard(*reader);
  dir.write("d/index.html", "index");
  EXPECT_EQ(kind("d/"), LoadKind::FILE);
}

TEST_F(ListingLoad, a_long_listing_is_written_over_several_turns) {
  dir.make_dir("d");
  for (int i = 0; i < 2000; ++i) dir.write("d/f" + std::to_string(i), "");
  policy.listing = true;
  ASSERT_TRUE(start("d/", false));
  LoadResult result;
  int turns_at_work = 0;
  for (;;) {
    if (loader->poll(clock.now(), clock.wall(), {&result, 1}) == 1) break;
    if (loader->next_due() <= clock.now()) {
      ++turns_at_work;
      continue;
    }
    pollfd wake{.fd = reader->wake_fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&wake, 1, 10'000), 1);
    uint64_t ticks = 0;
    (void)!::read(wake.fd, &ticks, sizeof ticks);
  }
  EXPECT_EQ(result.kind, LoadKind::LISTING);
  EXPECT_GE(turns_at_work, 3);
  EXPECT_NE(text(result).find("f1999"), std::string::npos);
  result.discard(*reader);
}

}  // namespace
}  // namespace penstock
