// Filters by pool/sdk, each in a process of its own.
#include "tests/unit/sdk/worker_process.h"

#include <array>
#include <cstring>
#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

class FilterProcess : public WorkerProcess {
 protected:
  explicit FilterProcess(int hooks = HOOK_REQUEST | HOOK_RESPONSE | HOOK_LOG) { filters = hooks; }
  const Answer& filter(const std::string& path, penstock_to_worker kind = PENSTOCK_FILTER_REQUEST,
                       std::string_view response = {}) {
    (void)ask({.path = path, .kind = kind, .status = 203, .offset = 1'234}, response, true, 77);
    const uint64_t number = serial;
    EXPECT_TRUE(until([&] { return answers[number].ended; })) << path;
    return answers[number];
  }
  // The head of an answer with two fields.
  static std::string response() {
    struct {
      penstock_response_head head{};
      std::array<penstock_field, 2> fields{};
      std::array<char, 12> text{'O', 'n', 'e', '\0', 'u', 'n', 'o', '\0', 'T', 'w', 'o', '\0'};
    } block;
    block.head = {.bytes = sizeof block, .field_count = 2, .fields_at = sizeof block.head, .policy_at = 0};
    const auto text_at = static_cast<uint32_t>(offsetof(decltype(block), text));
    block.fields = {penstock_field{{text_at, 3}, {text_at + 4, 3}},
                    penstock_field{{text_at + 8, 3}, {text_at + 11, 0}}};
    return {reinterpret_cast<const char*>(&block), sizeof block};
  }
};

TEST_F(FilterProcess, passes_what_it_does_not_change_and_says_what_it_wants_to_see) {
  for (const char* path : {"/", "/wrong", "/later"}) {
    const Answer& verdict = filter(path);
    EXPECT_EQ(verdict.parts, "V") << path;
    EXPECT_EQ(verdict.body, "response log ") << path;
    EXPECT_EQ(verdict.log, "") << path;
  }
}

TEST_F(FilterProcess, changes_are_in_the_order_of_the_calls) {
  const Answer& verdict = filter("/change");
  EXPECT_EQ(verdict.body, "response log /other?q 1 A=1 2 B=2 3 C=");
  EXPECT_EQ(verdict.log, "x=1 y=2");
}

TEST_F(FilterProcess, as_many_as_fit_are_taken) {
  const std::string& edits = filter("/many").body;
  EXPECT_EQ(std::ranges::count(edits, '='), PENSTOCK_FIELDS_MAX);
}

TEST_F(FilterProcess, answers_by_itself_or_refuses) {
  const Answer& own = filter("/answer");
  EXPECT_EQ(own.parts, "H");
  EXPECT_EQ(own.status, 403);
  EXPECT_EQ(own.body, "not you");
  EXPECT_EQ(filter("/refuse").parts, "A");
}

TEST_F(FilterProcess, sees_an_answer_and_may_rename_it) {
  const Answer& verdict = filter("/", PENSTOCK_FILTER_RESPONSE, response());
  EXPECT_EQ(verdict.parts, "V");
  EXPECT_EQ(verdict.status, 404);
  EXPECT_EQ(verdict.body, " 1 X=203unoy");
}

TEST_F(FilterProcess, has_a_word_for_the_log) {
  EXPECT_EQ(filter("/", PENSTOCK_FILTER_LOG, response()).log, "203 77 1234");
}

TEST_F(FilterProcess, is_no_application) {
  (void)ask("/");
  const uint64_t number = serial;
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  EXPECT_EQ(answers[number].parts, "A");
}

class LogFilterProcess : public FilterProcess {
 protected:
  LogFilterProcess() : FilterProcess(HOOK_LOG) {}
};

TEST_F(LogFilterProcess, lets_pass_what_it_has_no_hook_for) {
  const Answer& verdict = filter("/change");
  EXPECT_EQ(verdict.parts, "V");
  EXPECT_EQ(verdict.body, "log ");
}

class NoFilterProcess : public FilterProcess {
 protected:
  NoFilterProcess() { filters.reset(); }  // the test's application
};

TEST_F(NoFilterProcess, refuses_all_that_it_is_asked_to_filter) { EXPECT_EQ(filter("/").parts, "A"); }

}  // namespace
}  // namespace penstock
