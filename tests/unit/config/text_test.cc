#include "src/config/text.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(ConfigText, quote_and_unquote_are_inverse_for_every_clean_text) {
  for (const std::string text :
       {"", "a", " a", "a ", "a b", "a #b", "a#b", "#a", "\"", "\\", "a\"b\\", "ä → ß", "a,b", "inherit", "a\\"}) {
    const auto back = unquote(quote(text));
    ASSERT_TRUE(back.has_value()) << text;
    EXPECT_EQ(*back, text);
    // What is printed is also read back whole from a line with a comment behind it.
    const std::string line = quote(text) + " # \"comment";
    const auto end = find_value_end(line);
    ASSERT_TRUE(end.has_value()) << line;
    EXPECT_EQ(line.substr(0, *end), quote(text) + " ");
  }
}

TEST(ConfigText, quotes_only_where_the_grammar_needs_it) {
  EXPECT_EQ(quote("public, max-age=60"), "public, max-age=60");
  EXPECT_EQ(quote("a#b\\c"), "a#b\\c");
  EXPECT_EQ(quote("a #b"), "\"a #b\"");
  EXPECT_EQ(quote(""), "\"\"");
  EXPECT_EQ(quote_item("a#b"), "a#b");
  EXPECT_EQ(quote_item("a b"), "\"a b\"");
  EXPECT_EQ(quote_item("#a"), "\"#a\"");
}

TEST(ConfigText, refuses_quotes_that_do_not_stand_around_the_whole_value) {
  for (const std::string_view raw : {"\"a", "\"a\"b", "a\"b", "\"a\\", "\"a\\n\"", "\"\"\""}) {
    EXPECT_FALSE(unquote(raw).has_value()) << raw;
  }
}

TEST(ConfigText, splits_lists_at_blanks_and_commas) {
  using List = std::vector<std::string>;
  EXPECT_EQ(split_list("a b,c , \"d e\"\t\"\\\"f\\\\\""), (List{"a", "b", "c", "d e", "\"f\\"}));
  EXPECT_EQ(split_list("\"\""), List{});
  EXPECT_EQ(split_list("a \"\""), (List{"a", ""}));
  EXPECT_FALSE(split_list("\"a\"b").has_value());
  EXPECT_FALSE(split_list("a\"b").has_value());
  EXPECT_FALSE(split_list("\"a").has_value());
}

TEST(ConfigText, a_comment_begins_at_a_hash_after_a_blank_outside_quotes) {
  EXPECT_EQ(find_value_end("a # b"), 2U);
  EXPECT_EQ(find_value_end("# b"), 0U);
  EXPECT_EQ(find_value_end("a#b"), 3U);
  EXPECT_EQ(find_value_end("\"a # b\" # c"), 8U);
  EXPECT_EQ(find_value_end("a, \"b # c\"#d"), 12U);
  EXPECT_FALSE(find_value_end("a \"b # c").has_value());
}

TEST(ConfigText, takes_utf8_and_refuses_controls_and_broken_sequences) {
  for (const std::string_view good :
       {"", "abc", "\xc2\xa0", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_clean_text(good, false)) << good;
  }
  using namespace std::string_view_literals;
  for (const std::string_view bad :
       {"\0"sv, "\n"sv, "\x1b"sv, "\x7f"sv, "\xc2\x80"sv, "\xc2\x9f"sv, "\x80"sv, "\xc0\xaf"sv, "\xc1\xbf"sv, "\xc3"sv,
        "\xe0\x80\xaf"sv, "\xe2\x82"sv, "\xed\xa0\x80"sv, "\xf0\x80\x80\xaf"sv, "\xf4\x90\x80\x80"sv,
        "\xf5\x80\x80\x80"sv, "\xff"sv, "\t"sv}) {
    EXPECT_FALSE(is_clean_text(bad, false)) << bad;
  }
  EXPECT_TRUE(is_clean_text("a\tb", true));
}

}  // namespace
}  // namespace penstock
