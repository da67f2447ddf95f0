#include "pool/runtimes/upstream/upstream_settings.h"

#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

Result<UpstreamSettings> settings(std::vector<std::string> words) {
  words.insert(words.begin(), {"--connect", "127.0.0.1:9000"});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  return read_upstream_settings(argv);
}

std::string mapped(const UpstreamSettings& settings, std::string_view path, std::string_view target = "/app?q") {
  const ScriptCall call = map_script(settings, {.target = target, .path = path, .route_prefix = "/app"});
  if (call.refusal != 0) return std::to_string(call.refusal) + call.location;
  return call.mapping.script_name + "|" + call.mapping.script_filename + "|" + call.mapping.path_info;
}

TEST(UpstreamSettings, leave_the_path_to_an_application_without_files) {
  const auto plain = settings({});
  EXPECT_EQ(mapped(*plain, "/app/a.php/b"), "/app||/a.php/b");
  EXPECT_EQ(mapped(*plain, "/app"), "/app||");
}

TEST(UpstreamSettings, split_a_path_by_name_where_the_files_are_elsewhere) {
  const auto elsewhere = settings({"--root", "/nowhere/here/", "--index", "index.php"});
  EXPECT_EQ(mapped(*elsewhere, "/app/a.php"), "/app/a.php|/nowhere/here/a.php|");
  EXPECT_EQ(mapped(*elsewhere, "/app/a.php/b.php/c"), "/app/a.php|/nowhere/here/a.php|/b.php/c") << "the first one";
  EXPECT_EQ(mapped(*elsewhere, "/app/a.phpx/b.php"), "/app/a.phpx/b.php|/nowhere/here/a.phpx/b.php|");
  EXPECT_EQ(mapped(*elsewhere, "/app/"), "/app/index.php|/nowhere/here/index.php|");
  EXPECT_EQ(mapped(*elsewhere, "/app/sub/"), "/app/sub/index.php|/nowhere/here/sub/index.php|");
  EXPECT_EQ(mapped(*elsewhere, "/app", "/app?q"), "301/app/?q");
  for (const char* path : {"/app/a.jpg", "/app/a.php5", "/app/.hidden/a.php", "/app/.php"})
    EXPECT_EQ(mapped(*elsewhere, path), "404") << path;
  const auto other = settings({"--root", "/nowhere", "--split-path-info", "fcgi"});
  EXPECT_EQ(mapped(*other, "/app/"), "/app/index.fcgi|/nowhere/index.fcgi|") << "the index, if nothing else is said";
  EXPECT_EQ(mapped(*other, "/app/a.fcgi/x"), "/app/a.fcgi|/nowhere/a.fcgi|/x");
  EXPECT_EQ(mapped(*other, "/app/a.php"), "404");
}

TEST(UpstreamSettings, look_for_the_script_where_its_files_are) {
  TempDir dir;
  dir.make_dir("sub");
  for (const char* name : {"index.php", "sub/a.php", "image.jpg"}) dir.write(name, "");
  const auto here = settings({"--root", dir.path(), "--index", "index.php"});
  EXPECT_EQ(mapped(*here, "/app/sub/a.php/x"), "/app/sub/a.php|" + dir.path() + "/sub/a.php|/x");
  EXPECT_EQ(mapped(*here, "/app/"), "/app/index.php|" + dir.path() + "/index.php|");
  EXPECT_EQ(mapped(*here, "/app/image.jpg/x.php"), "403") << "PHP would run the image";
  EXPECT_EQ(mapped(*here, "/app/image.jpg"), "403");
  EXPECT_EQ(mapped(*here, "/app/none.php"), "404");
  EXPECT_EQ(mapped(*here, "/app/sub", "/app/sub?a=b"), "301/app/sub/?a=b");
  EXPECT_EQ(mapped(*here, "/app/sub/"), "404") << "it has no index";
}

TEST(UpstreamSettings, give_the_rest_to_a_front_script) {
  TempDir dir;
  for (const char* name : {"index.php", "image.jpg", "other.php"}) dir.write(name, "");
  const auto front = settings({"--root", dir.path(), "--index", "/index.php"});
  const std::string file = dir.path() + "/index.php";
  EXPECT_EQ(mapped(*front, "/app/pretty/url"), "/app/index.php|" + file + "|/pretty/url");
  EXPECT_EQ(mapped(*front, "/app/"), "/app/index.php|" + file + "|/");
  EXPECT_EQ(mapped(*front, "/app"), "/app/index.php|" + file + "|");
  EXPECT_EQ(mapped(*front, "/app/other.php"), "/app/other.php|" + dir.path() + "/other.php|");
  EXPECT_EQ(mapped(*front, "/app/image.jpg/x.php"), "403");
}

TEST(UpstreamSettings, read_addresses) {
  EXPECT_EQ(read_upstream_address("unix:/run/x.sock")->raw.ss_family, AF_UNIX);
  EXPECT_EQ(read_upstream_address("127.0.0.1:9000")->raw.ss_family, AF_INET);
  EXPECT_EQ(read_upstream_address("[::1]:9000")->raw.ss_family, AF_INET6);
  for (const char* wrong :
       {"", "x", "unix:", "unix:x", "localhost:80", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:", "[::1]"}) {
    EXPECT_FALSE(read_upstream_address(wrong)) << wrong;
  }
  EXPECT_FALSE(read_upstream_address("unix:/" + std::string(108, 'x')));
}

TEST(UpstreamSettings, need_to_make_sense) {
  const auto complaint = [](std::vector<std::string> words) {
    const auto read = settings(std::move(words));
    return read ? "none" : read.error().message;
  };
  EXPECT_EQ(complaint({}), "none");
  EXPECT_NE(complaint({"--start", "/bin/sh"}).find("one of --connect and --start"), std::string::npos);
  EXPECT_NE(complaint({"--start", "/bin/sh 'x"}).find("quote"), std::string::npos);
  EXPECT_NE(complaint({"--start", "   "}).find("no command"), std::string::npos);
  EXPECT_NE(complaint({"--start", "sh -c x"}).find("absolute"), std::string::npos);
  EXPECT_NE(complaint({"--index", "index.php"}).find("needs --root"), std::string::npos);
  EXPECT_NE(complaint({"--root", "relative"}).find("absolute"), std::string::npos);
  EXPECT_NE(complaint({"--split-path-info", ".php"}).find("extension"), std::string::npos);
  EXPECT_NE(complaint({"--connections", "0"}).find("from 1 to 500"), std::string::npos);
  std::vector<char*> none;
  EXPECT_NE(read_upstream_settings(none).error().message.find("one of --connect and --start"), std::string::npos);
  std::string words[] = {"--start", " /bin/sh  -c 'x y'\"z\"  ''"};
  char* start[] = {words[0].data(), words[1].data()};
  EXPECT_EQ(read_upstream_settings(start)->start, (std::vector<std::string>{"/bin/sh", "-c", "x yz", ""}));
}

}  // namespace
}  // namespace penstock
