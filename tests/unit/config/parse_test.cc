#include "src/config/parse.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace penstock {
namespace {

// "line key=value" of each assignment, then "! error".
std::vector<std::string> read(std::string_view text) {
  const ParseResult result = parse_text(text, "f");
  std::vector<std::string> out;
  for (const Assignment& a : result.assignments) {
    EXPECT_EQ(a.source, "f");
    out.push_back(std::to_string(a.line) + " " + a.key + "=" + a.value);
  }
  for (const ConfigError& error : result.errors) out.push_back("! " + to_text(error));
  return out;
}

using Lines = std::vector<std::string>;

TEST(ConfigParse, reads_keys_values_comments_and_blank_lines) {
  EXPECT_EQ(read("# c\n\n  a.b = 1  # c\n\tc=\"x # y\" \nd =\ne = x#y"),
            (Lines{"3 a.b=1", "4 c=\"x # y\"", "5 d=", "6 e=x#y"}));
}

TEST(ConfigParse, takes_crlf_a_byte_order_mark_and_no_last_newline) {
  EXPECT_EQ(read("\xef\xbb\xbf"
                 "a = 1\r\nb = 2\r\n"),
            (Lines{"1 a=1", "2 b=2"}));
  EXPECT_EQ(read("a = 1"), (Lines{"1 a=1"}));
  EXPECT_EQ(read(""), Lines{});
}

TEST(ConfigParse, keeps_equal_signs_of_the_value) { EXPECT_EQ(read("a = b = c"), (Lines{"1 a=b = c"})); }

TEST(ConfigParse, reports_all_errors_of_a_text_with_their_lines) {
  EXPECT_EQ(read("nothing\na = 1\n= 2\na b = 3\nc = \"x\na = 4\nd = \x01\ne = 5"),
            (Lines{"2 a=1", "8 e=5", "! f:1: expected key = value, got \"nothing\"",
                   "! f:3: expected key = value, got \"= 2\"", "! f:4: expected key = value, got \"a b = 3\"",
                   "! f:5: c: expected a closing quote, got \"\"x\"",
                   "! f:6: a: expected each key once, got it on lines 2 and 6",
                   "! f:7: expected UTF-8 text without control characters, got \"d = \\x01\""}));
}

TEST(ConfigParse, refuses_text_that_is_no_utf8_even_in_comments) {
  EXPECT_EQ(parse_text("# \xff\n", "f").errors.size(), 1U);
  EXPECT_EQ(parse_text("a = \xff\n", "f").errors.size(), 1U);
  EXPECT_EQ(parse_text("a = x # \x1b[2J\n", "f").errors.size(), 1U);
  EXPECT_EQ(parse_text("a = b\rc\n", "f").errors.size(), 1U);
}

TEST(ConfigParse, an_error_cannot_drive_the_terminal) {
  const ParseResult result = parse_text("\x1b[2Jk\n", "f\x1b");
  ASSERT_EQ(result.errors.size(), 1U);
  EXPECT_EQ(to_text(result.errors).find('\x1b'), std::string::npos);
}

TEST(ConfigParse, stops_at_a_thousand_errors_and_says_so) {
  std::string text;
  for (int i = 0; i < 1500; ++i) text += "x\n";
  const ParseResult result = parse_text(text, "f");
  ASSERT_EQ(result.errors.size(), CONFIG_ERRORS_MAX + 1);
  EXPECT_EQ(result.errors.back().message, "expected fewer errors: what follows was not looked at");
}

TEST(ConfigParse, bounds_lines) {
  EXPECT_TRUE(parse_text("a = " + std::string(CONFIG_LINE_BYTES_MAX - 4, 'x'), "f").errors.empty());
  EXPECT_EQ(parse_text("a = " + std::string(CONFIG_LINE_BYTES_MAX - 3, 'x'), "f").errors.size(), 1U);
}

TEST(ConfigParse, command_line_has_no_comments) {
  const auto one = parse_assignment("a.b= x # y ", "-w");
  ASSERT_TRUE(one.has_value());
  EXPECT_EQ(*one, (Assignment{"a.b", "x # y", "-w", 0}));
  EXPECT_EQ(parse_assignment("a=", "-w")->value, "");
  for (const std::string_view bad : {"", "a", "=b", "a b=c", "a=\n", "a=\xff"})
    EXPECT_FALSE(parse_assignment(bad, "-w")) << bad;
  EXPECT_EQ(to_text(parse_assignment("a", "--set").error()), "--set: expected KEY=VALUE, got \"a\"\n");
}

class ConfigFile : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/penstock-config-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    directory_ = path;
  }
  void TearDown() override {
    ::unlink((directory_ + "/fifo").c_str());
    ::rmdir(directory_.c_str());
  }
  std::string directory_;
};

TEST_F(ConfigFile, only_regular_files_are_read) {
  EXPECT_FALSE(read_config_file(directory_ + "/absent").has_value());
  EXPECT_FALSE(read_config_file(directory_).has_value());
  ASSERT_EQ(::mkfifo((directory_ + "/fifo").c_str(), 0600), 0);
  EXPECT_FALSE(read_config_file(directory_ + "/fifo").has_value());  // and does not hang
}

TEST_F(ConfigFile, reads_a_file_whole) {
  const auto text = read_config_file(PENSTOCK_SOURCE_ROOT "/src/config/schema.def");
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(text->ends_with("#undef IDENTITY_MAP\n"));
}

}  // namespace
}  // namespace penstock
