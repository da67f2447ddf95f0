#include "pool/runtimes/gateway/script_tree.h"

#include "pool/runtimes/cgi/cgi_settings.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

class Scripts : public ::testing::Test {
 protected:
  void SetUp() override {
    dir.make_dir("root");
    dir.make_dir("root/sub");
    dir.make_dir("root/.hidden");
    for (const char* name : {"root/a.php", "root/sub/b.c.cgi", "root/plain", "root/.hidden/x.php", "root/.dot.php",
                             "outside.php", "root/nph-x.cgi"}) {
      dir.write(name, "#!/bin/sh\n");
    }
    ASSERT_EQ(::chmod(dir.at("root/sub/b.c.cgi").c_str(), 0755), 0);
    ASSERT_EQ(::mkfifo(dir.at("root/pipe.php").c_str(), 0644), 0);
    dir.link_to("a.php", "root/inside.php");
    dir.link_to("../outside.php", "root/escape.php");
    dir.link_to(dir.at("outside.php"), "root/absolute.php");
    dir.link_to("..", "root/up");
    dir.link_to("self", "root/self");
    tree.emplace(ScriptTree::open(dir.at("root")).value());
  }
  std::string find(std::string_view path) const {
    const auto found = tree->find(path);
    return found ? found->below_root + "|" + found->path_info + "|" + std::string(found->extension()) : "none";
  }
  unsigned refusal(std::vector<std::string> words, std::string_view path) const {
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    const auto settings = read_cgi_settings(argv);
    EXPECT_TRUE(settings) << settings.error().message;
    return choose_program(*settings, {.path = path, .route_prefix = "/app"}).refusal;
  }
  std::string complaint(std::vector<std::string> words) const {
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    const auto settings = read_cgi_settings(argv);
    return settings ? "none" : settings.error().message;
  }
  TempDir dir;
  std::optional<ScriptTree> tree;
};

TEST_F(Scripts, are_found_where_the_path_meets_a_file) {
  EXPECT_EQ(find("/a.php"), "/a.php||php");
  EXPECT_EQ(find("/a.php/more/../x"), "/a.php|/more/../x|php") << "what follows is the script's own business";
  EXPECT_EQ(find("/sub/b.c.cgi/"), "/sub/b.c.cgi|/|cgi");
  EXPECT_EQ(find("/plain"), "/plain||");
  EXPECT_EQ(find("/inside.php"), "/inside.php||php") << "a link that stays inside";
}

TEST_F(Scripts, are_not_found_elsewhere) {
  for (const char* path : {"", "/", "/sub", "/sub/", "/nothing", "/nothing/a.php", "//a.php", "/./a.php",
                           "/../outside.php", "/sub/../a.php", "/.dot.php", "/.hidden/x.php", "/escape.php",
                           "/absolute.php", "/up/outside.php", "/self", "/pipe.php"}) {
    EXPECT_EQ(find(path), "none") << path;
  }
  EXPECT_EQ(find(std::string_view("/a.php\0", 7)), "none");
  EXPECT_EQ(find("/" + std::string(5'000, 'a')), "none");
}

TEST_F(Scripts, run_only_if_they_are_listed) {
  const std::string root = dir.at("root");
  EXPECT_EQ(refusal({"--root", root, "--interpreter", "php=/bin/sh"}, "/app/a.php"), 0U);
  EXPECT_EQ(refusal({"--root", root, "--interpreter", "php=/bin/sh"}, "/app/sub/b.c.cgi"), 403U);
  EXPECT_EQ(refusal({"--root", root, "--interpreter", "php=/bin/sh"}, "/app/plain"), 403U);
  EXPECT_EQ(refusal({"--root", root, "--interpreter", "php=/bin/sh"}, "/app/none"), 404U);
  EXPECT_EQ(refusal({"--root", root, "--interpreter", "php=/bin/sh", "--executables"}, "/app/sub/b.c.cgi"), 0U);
  EXPECT_EQ(refusal({"--root", root}, "/app/sub/b.c.cgi"), 0U) << "a directory of programs";
  EXPECT_EQ(refusal({"--root", root}, "/app/plain"), 403U);
  EXPECT_EQ(refusal({"--root", root, "--executables"}, "/app/a.php"), 403U) << "not executable";
  EXPECT_EQ(refusal({"--root", root, "--executables"}, "/app/nph-x.cgi"), 501U);
}

TEST_F(Scripts, are_called_with_their_place) {
  std::vector<std::string> words = {"--root=" + dir.at("root/"), "--interpreter=php=/bin/sh"};
  std::vector<char*> argv = {words[0].data(), words[1].data()};
  const CgiCall call = choose_program(*read_cgi_settings(argv), {.path = "/app/a.php/x", .route_prefix = "/app"});
  EXPECT_EQ(call.program, "/bin/sh");
  EXPECT_EQ(call.words, (std::vector<std::string>{"/bin/sh", dir.at("root/a.php")}));
  EXPECT_EQ(call.directory, dir.at("root"));
  EXPECT_EQ(call.mapping.script_name, "/app/a.php");
  EXPECT_EQ(call.mapping.path_info, "/x");
  EXPECT_EQ(call.mapping.document_root, dir.at("root"));
}

TEST_F(Scripts, need_settings_that_make_sense) {
  const std::string root = dir.at("root");
  EXPECT_NE(complaint({}).find("one of --root and --program"), std::string::npos);
  EXPECT_NE(complaint({"--root", "relative", "--executables"}).find("absolute"), std::string::npos);
  EXPECT_NE(complaint({"--root", root + "/plain", "--executables"}).find("not a directory"), std::string::npos);
  EXPECT_NE(complaint({"--root", root + "/none", "--executables"}).find("No such file"), std::string::npos);
  EXPECT_NE(complaint({"--program", root + "/plain"}).find("Permission denied"), std::string::npos);
  EXPECT_NE(complaint({"--program", "/bin/sh", "--executables"}).find("do not go with it"), std::string::npos);
  EXPECT_NE(complaint({"--root", root, "--interpreter", "php"}).find("EXT=PROGRAM"), std::string::npos);
  EXPECT_NE(complaint({"--root", root, "--interpreter", ".php=/bin/sh"}).find("EXT=PROGRAM"), std::string::npos);
  EXPECT_NE(complaint({"--root", root, "--interpreter=a=/bin/sh", "--interpreter=a=/bin/sh"}).find("already"),
            std::string::npos);
  EXPECT_NE(complaint({"--program", "/bin/sh", "--concurrency", "0"}).find("from 1 to 1024"), std::string::npos);
  EXPECT_NE(complaint({"--program", "/bin/sh", "--env", "A-B"}).find("not the name"), std::string::npos);
  EXPECT_EQ(complaint({"--program", "/bin/sh", "--env", "A=secret"}), "--env: 'A…' is not the name of a variable");
  EXPECT_NE(complaint({"--program", "/bin/sh", "--env", "NOT_SET_AT_ALL"}).find("environment"), std::string::npos);
  EXPECT_NE(complaint({"--program"}).find("needs a value"), std::string::npos);
  EXPECT_NE(complaint({"--program", "/bin/sh", "--pass-authorization=1"}).find("takes no value"), std::string::npos);
  EXPECT_NE(complaint({"--frogs"}).find("unknown option --frogs"), std::string::npos);
  EXPECT_NE(complaint({"frogs"}).find("unknown option frogs"), std::string::npos);
}

}  // namespace
}  // namespace penstock
