// penstock-native with the shared objects of pool/sdk/examples, and with what is none.
#include "tests/unit/sdk/worker_process.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

class Greet : public WorkerProcess {
 protected:
  Greet() {
    program = PENSTOCK_NATIVE;
    arguments = {PENSTOCK_GREET, "Good", "morning"};
  }
};

TEST_F(Greet, runs_a_shared_object_with_its_words) {
  EXPECT_EQ(get("/?Ada"), "Good morning Ada\n");
  EXPECT_EQ(answers[serial].status, 200);
  EXPECT_EQ(get("/"), "Good morning \n");
}

class Later : public WorkerProcess {
 protected:
  Later() {
    program = PENSTOCK_NATIVE;
    arguments = {PENSTOCK_LATER};
  }
};

TEST_F(Later, answers_from_threads_of_its_own) {
  for (int i = 0; i < 50; ++i) EXPECT_EQ(get("/abc"), "cba/\n");
}

TEST_F(Later, outlives_cancelled_requests) {
  for (int i = 0; i < 50; ++i) {
    const Handle exchange = ask("/abc");
    const uint64_t number = serial;
    flush();
    link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
    ASSERT_TRUE(until([&] { return answers[number].ended; }));
  }
  EXPECT_EQ(get("/abc"), "cba/\n");
}

// How it ends, and what it says.
std::pair<int, std::string> run_native(std::vector<std::string> words) {
  words.insert(words.begin(), PENSTOCK_NATIVE);
  UniqueFd said(::memfd_create("stderr", MFD_CLOEXEC));
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(said.get(), STDERR_FILENO);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  std::string text(4'096, '\0');
  text.resize(static_cast<size_t>(::pread(said.get(), text.data(), text.size(), 0)));
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

TEST(Native, says_what_it_cannot_load) {
  EXPECT_EQ(run_native({}).first, 2);
  EXPECT_NE(run_native({}).second.find("usage"), std::string::npos);
  const auto missing = run_native({"/nowhere/app.so"});
  EXPECT_EQ(missing.first, 1);
  EXPECT_NE(missing.second.find("/nowhere/app.so"), std::string::npos) << missing.second;
  const auto slashless = run_native({"libz.so.1"});
  EXPECT_EQ(slashless.first, 1);
  EXPECT_NE(slashless.second.find("slash"), std::string::npos) << slashless.second;
  const auto other = run_native({PENSTOCK_OTHER_OBJECT});
  EXPECT_EQ(other.first, 1);
  EXPECT_NE(other.second.find("penstock_application"), std::string::npos) << other.second;
}

TEST(Native, ends_with_the_code_of_an_application_that_cannot_run) {
  const auto wordless = run_native({PENSTOCK_GREET});
  EXPECT_EQ(wordless.first, 2);
  EXPECT_NE(wordless.second.find("greet: no words"), std::string::npos) << wordless.second;
  const auto alone = run_native({PENSTOCK_GREET, "Hi"});
  EXPECT_EQ(alone.first, 1);
  EXPECT_NE(alone.second.find("not started by penstock"), std::string::npos) << alone.second;
}

}  // namespace
}  // namespace penstock
