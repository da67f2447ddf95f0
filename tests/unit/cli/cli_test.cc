// What the command line makes of its words: options for the supervisor, or exit code 2.
#include "src/cli/cli.h"

#include "src/config/tree.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace penstock {
namespace {

CliOutcome cli(std::vector<std::string> words) {
  words.insert(words.begin(), "penstock");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return run_cli(static_cast<int>(words.size()), argv.data(), {"/nowhere"});
}

std::string value_of(const CliOutcome& outcome, const std::string& key) {
  const auto tree = Tree::from(outcome.supervise->overlay);
  if (!tree) return to_text(tree.error());
  return tree->get(key).value_or("unset");
}

TEST(Cli, serve_makes_a_default_site_of_the_directory) {
  const CliOutcome outcome = cli({"serve", testing::TempDir()});
  ASSERT_TRUE(outcome.supervise);
  EXPECT_EQ(value_of(outcome, "site.default.hosts"), "*");
  EXPECT_EQ(value_of(outcome, "site.default.root"), std::filesystem::canonical(testing::TempDir()).string());
  EXPECT_EQ(value_of(outcome, "server.listen"), "127.0.0.1:8080");
}

TEST(Cli, serve_takes_a_directory_whose_name_needs_quotes) {
  const std::string dir = testing::TempDir() + "a \"b\" # c";
  std::filesystem::create_directories(dir);
  const CliOutcome outcome = cli({"serve", dir});
  ASSERT_TRUE(outcome.supervise);
  const auto tree = Tree::from(outcome.supervise->overlay);
  ASSERT_TRUE(tree) << to_text(tree.error());
  EXPECT_EQ(tree->settings().site("default")->root, std::filesystem::canonical(dir).string());
}

TEST(Cli, listen_may_be_repeated_and_set_overrides) {
  const CliOutcome outcome =
      cli({"serve", testing::TempDir(), "--listen", "127.0.0.1:81", "--listen", "[::1]:82", "--set", "cache.size=1g",
           "--set", "cache.size=2g", "--set", "site.default.listing=0"});
  ASSERT_TRUE(outcome.supervise);
  EXPECT_EQ(value_of(outcome, "server.listen"), "127.0.0.1:81 [::1]:82");
  EXPECT_EQ(value_of(outcome, "cache.size"), "2g");
  EXPECT_EQ(value_of(outcome, "site.default.listing"), "0");
}

TEST(Cli, options_may_stand_before_and_after_the_directory) {
  const CliOutcome outcome = cli({"serve", "--control", "/x/y", "--listen", "127.0.0.1:81", testing::TempDir()});
  ASSERT_TRUE(outcome.supervise);
  EXPECT_EQ(outcome.supervise->control_path, "/x/y");
}

TEST(Cli, wrong_usage_ends_with_code_2) {
  EXPECT_EQ(cli({}).exit_code, 2);
  EXPECT_EQ(cli({"no-such-command"}).exit_code, 2);
  EXPECT_EQ(cli({"serve"}).exit_code, 2);
  EXPECT_EQ(cli({"serve", "/no/such/directory"}).exit_code, 2);
  EXPECT_EQ(cli({"serve", testing::TempDir(), "--set", "no assignment"}).exit_code, 2);
  EXPECT_EQ(cli({"run"}).exit_code, 2);
  EXPECT_EQ(cli({"sysctl"}).exit_code, 2);
  EXPECT_EQ(cli({"sysctl", "-w", "cache.size"}).exit_code, 2);
  EXPECT_EQ(cli({"sysctl", "-a", "-w", "cache.size=1"}).exit_code, 2);
  EXPECT_EQ(cli({"check", "-c", "/no/such/file"}).exit_code, 2);
}

// What a command says on stdout and stderr, with its exit code before it.
std::string said(std::vector<std::string> words) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = cli(std::move(words)).exit_code;
  const std::string out = testing::internal::GetCapturedStdout();
  return std::to_string(code) + " " + out + testing::internal::GetCapturedStderr();
}

TEST(Cli, names_the_word_that_is_no_command) {
  EXPECT_EQ(said({"sttaus"}), "2 penstock: there is no command sttaus (--help names them)\n");
  EXPECT_EQ(said({"cache", "purg", "all"}), "2 penstock: there is no command purg (--help names them)\n");
  EXPECT_EQ(said({"--control", "/x", "\x1b[2J"}), "2 penstock: there is no command \\x1b[2J (--help names them)\n");
  EXPECT_EQ(said({"sysctl", "cache.size=1g"}), "2 penstock: sysctl: expected KEY, got cache.size=1g; -w changes one\n");
}

TEST(Cli, help_is_a_command_too) {
  EXPECT_EQ(said({"help"}), said({"--help"}));
  EXPECT_EQ(said({"help", "cache", "purge"}), said({"cache", "purge", "--help"}));
  EXPECT_EQ(said({"help"}).substr(0, 2), "0 ");
}

TEST(Cli, control_may_stand_before_the_command) {
  EXPECT_EQ(said({"--control", "/no/socket", "status"}), said({"status", "--control", "/no/socket"}));
  EXPECT_NE(said({"--control", "/no/socket", "cache", "stats"}).find("no instance is running at /no/socket"),
            std::string::npos);
}

TEST(Cli, settings_are_json_on_demand) {
  const std::string file = testing::TempDir() + "penstock-json.conf";
  std::ofstream(file) << "cache.size = 64m\n";
  EXPECT_EQ(said({"sysctl", "cache.size", "-c", file, "--json"}),
            "0 {\"entries\":[{\"key\":\"cache.size\",\"value\":\"64m\"}]}\n");
  const std::string all = said({"sysctl", "-a", "-v", "--json", "-c", file});
  EXPECT_NE(all.find(R"("default":"256m","expects":"a size from 1m)"), std::string::npos) << all;
  EXPECT_NE(all.find(R"("key":"server.reactors","live":false)"), std::string::npos);
  EXPECT_NE(all.find(R"("range":"1m to 1048576g","risk":2,"risk_reason":"a smaller one drops)"), std::string::npos);
  EXPECT_NE(all.find(R"("since":"0.1.0","source":"","type")"), std::string::npos);
  EXPECT_NE(all.find("\"source\":\"" + file + ":1\""), std::string::npos) << all;
}

TEST(Cli, features_name_what_is_in_the_build) {
  const std::string features = said({"features"});
  EXPECT_NE(features.find("\n+  tls"), std::string::npos) << features;
  EXPECT_NE(features.find("tls.groups of X25519, P-256"), std::string::npos) << features;
  EXPECT_EQ(features.find("release"), std::string::npos) << "what is to come is no feature";
}

TEST(Cli, without_an_instance_commands_fail_with_code_1) {
  const std::string control = testing::TempDir() + "no-instance.sock";
  EXPECT_EQ(cli({"status", "--control", control}).exit_code, 1);
  EXPECT_EQ(cli({"sysctl", "cache.size", "--control", control}).exit_code, 1);
  EXPECT_EQ(cli({"cache", "stats", "--control", control}).exit_code, 1);
}

TEST(Cli, log_convert_refuses_what_is_no_binary_log) {
  const std::string file = testing::TempDir() + "penstock-cli.log";
  std::ofstream(file) << "127.0.0.1 - - a line of text\n";
  EXPECT_EQ(cli({"log", "convert", file}).exit_code, 1);
  EXPECT_EQ(cli({"log", "convert", "/no/such/file"}).exit_code, 1);
  EXPECT_EQ(cli({"log", "convert", file, "--to", "xml"}).exit_code, 2);
  EXPECT_EQ(cli({"log", "convert", file, "--fields", "no-such-field"}).exit_code, 2);
}

TEST(Cli, check_and_offline_sysctl_need_no_instance) {
  const std::string file = testing::TempDir() + "penstock-cli.conf";
  std::ofstream(file) << "cache.size = 64m\n";
  EXPECT_EQ(cli({"check", "-c", file}).exit_code, 0);
  EXPECT_EQ(cli({"check", file}).exit_code, 0);
  EXPECT_EQ(cli({"check"}).exit_code, 2);
  EXPECT_EQ(cli({"sysctl", "-a", "-v", "-c", file}).exit_code, 0);
  EXPECT_EQ(cli({"sysctl", "--defaults", "cache"}).exit_code, 0);
  EXPECT_EQ(cli({"sysctl", "--defaults", "no.such.key"}).exit_code, 2);
  std::ofstream(file) << "cache.size = 64q\n";
  EXPECT_EQ(cli({"check", "-c", file}).exit_code, 2);
}

}  // namespace
}  // namespace penstock
