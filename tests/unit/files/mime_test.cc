#include "src/files/mime.h"

#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(MimeTypes, reads_the_systems_form_and_skips_the_rest) {
  const MimeTypes types(
      "# comment\n"
      "text/x-one\tone ONE1  uno # trailing comment extension\n"
      "text/x-two one two\r\n"
      "application/x-none\n"
      "no-slash ext1\n"
      "bad/type/three ext2\n"
      "text/<evil> ext3\n"
      "\n"
      "Text/X-Upper up");
  EXPECT_EQ(types.find("one"), "text/x-one") << "the first line wins";
  EXPECT_EQ(types.find("one1"), "text/x-one");
  EXPECT_EQ(types.find("uno"), "text/x-one");
  EXPECT_EQ(types.find("two"), "text/x-two");
  EXPECT_EQ(types.find("up"), "text/x-upper");
  for (const char* name : {"ext1", "ext2", "ext3", "comment", "trailing", "extension", "#"}) {
    EXPECT_EQ(types.find(name), "") << name;
  }
  EXPECT_EQ(types.skipped_lines(), 3U);
}

TEST(MimeTypes, the_built_in_list_lies_beneath_the_table) {
  const MimeTypes none("");
  EXPECT_EQ(none.find("html"), "text/html");
  EXPECT_EQ(none.find("wasm"), "application/wasm");
  const MimeTypes over("text/x-mine html\n");
  EXPECT_EQ(over.find("html"), "text/x-mine");
  EXPECT_EQ(over.find("css"), "text/css");
}

TEST(MimeTypes, an_unreadable_table_leaves_the_built_in_list_and_says_why) {
  Status why;
  const MimeTypes types = MimeTypes::load("/nonexistent/mime.types", &why);
  EXPECT_FALSE(why.has_value());
  EXPECT_EQ(types.find("html"), "text/html");
  const TempDir dir;
  dir.write("types", "text/x-file file\n");
  EXPECT_EQ(MimeTypes::load(dir.at("types").c_str(), &why).find("file"), "text/x-file");
}

TEST(MimeTable, looks_at_the_last_extension_in_any_case) {
  const MimeTypes types("");
  const MimeTable table(types, {}, "", "");
  EXPECT_EQ(table.lookup("a.HTML"), "text/html");
  EXPECT_EQ(table.lookup("archive.tar.gz"), "application/gzip");
  EXPECT_EQ(table.lookup("noextension"), "");
  EXPECT_EQ(table.lookup("ends."), "");
  EXPECT_EQ(table.lookup("x." + std::string(100, 'e')), "");
  EXPECT_EQ(table.lookup(".html"), "text/html");
}

TEST(MimeTable, appends_the_charset_to_text_that_has_none) {
  const MimeTypes types("text/plain txt\n");
  const MimeOverride overrides[] = {{"legacy", "text/html; charset=iso-8859-1"}, {"TPL", "text/x-template"}};
  const MimeTable table(types, overrides, "text/plain", "utf-8");
  EXPECT_EQ(table.lookup("a.txt"), "text/plain; charset=utf-8");
  EXPECT_EQ(table.lookup("a.svg"), "image/svg+xml; charset=utf-8");
  EXPECT_EQ(table.lookup("a.js"), "text/javascript; charset=utf-8");
  EXPECT_EQ(table.lookup("a.json"), "application/json") << "JSON has no charset";
  EXPECT_EQ(table.lookup("a.png"), "image/png");
  EXPECT_EQ(table.lookup("a.legacy"), "text/html; charset=iso-8859-1");
  EXPECT_EQ(table.lookup("a.tpl"), "text/x-template; charset=utf-8");
  EXPECT_EQ(table.lookup("a.unknown"), "text/plain; charset=utf-8") << "the default type";
}

TEST(MimeTable, knows_what_is_worth_compressing) {
  for (const char* type : {"text/html", "text/css; charset=utf-8", "application/json", "image/svg+xml",
                           "application/wasm", "application/ld+json", "font/ttf"}) {
    EXPECT_TRUE(mime_is_compressible(type)) << type;
  }
  for (const char* type : {"image/png", "video/mp4", "font/woff2", "application/zip", "application/octet-stream", ""}) {
    EXPECT_FALSE(mime_is_compressible(type)) << type;
  }
}

}  // namespace
}  // namespace penstock
