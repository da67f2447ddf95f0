// The pure parts of reading and judging a program's start.
#include "pool/sandbox/program_start.h"

#include "pool/sandbox/program_list.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(ScriptInterpreter, is_the_first_word_after_the_mark) {
  EXPECT_EQ(script_interpreter("#!/bin/sh\nrest"), "/bin/sh");
  EXPECT_EQ(script_interpreter("#! \t/usr/bin/env python3\n"), "/usr/bin/env");
  EXPECT_EQ(script_interpreter("#!/bin/sh"), "/bin/sh");
  EXPECT_EQ(script_interpreter("#!\n/bin/sh"), "");
  EXPECT_EQ(script_interpreter("#!"), "");
  EXPECT_EQ(script_interpreter("# !/bin/sh\n"), "");
  EXPECT_EQ(script_interpreter("\x7f"
                               "ELF"),
            "");
  EXPECT_EQ(script_interpreter(""), "");
}

TEST(CallOrigin, is_read_from_the_status_of_a_process) {
  const auto origin =
      parse_origin("Name:\ta\\nTgid:\\t9\nUmask:\t0022\nTgid:\t41\nNgid:\t0\nPid:\t42\nPPid:\t40\nUid:\t1\t2\t3\t4\n");
  ASSERT_TRUE(origin);
  EXPECT_EQ(origin->process, 41);
  EXPECT_EQ(origin->parent, 40);
  EXPECT_EQ(origin->uid, 2U);
}

TEST(CallOrigin, what_is_not_whole_is_nothing) {
  for (const char* text : {"", "Tgid:\t1\n", "\nTgid:\t1\nPPid:\t1\n", "\nTgid:\tx\nPPid:\t1\nUid:\t0\t0\n",
                           "\nTgid:\t0\nPPid:\t1\nUid:\t0\t0\n", "\nTgid:\t1\nPPid:\t1\nUid:\t0\n",
                           "\nTgid:\t99999999999\nPPid:\t1\nUid:\t0\t0\n"}) {
    EXPECT_FALSE(parse_origin(text)) << text;
  }
}

ProgramStart start_of(const std::string& path, int error = 0) {
  ProgramStart start;
  start.readable = true;
  start.error = error;
  if (!path.empty()) start.file = ProgramFile{path, 0, 0};
  return start;
}

TEST(ProgramList, a_directory_covers_what_is_beneath_and_nothing_beside) {
  const ProgramList list = ProgramList::of({"/usr", "/no/such/place"});
  std::string culprit;
  EXPECT_EQ(list.judge(start_of("/usr/bin/id"), culprit), ProgramList::Verdict::LISTED);
  EXPECT_EQ(list.judge(start_of("/usrx/id"), culprit), ProgramList::Verdict::NOT_LISTED);
  EXPECT_EQ(culprit, "/usrx/id");
  EXPECT_EQ(list.judge(start_of("/no/such/place"), culprit), ProgramList::Verdict::NOT_LISTED);
}

TEST(ProgramList, an_interpreter_must_be_listed_too) {
  const ProgramList list = ProgramList::of({"/usr"});
  ProgramStart start = start_of("/usr/bin/script");
  start.interpreters.push_back({"/opt/shell", 0, 0});
  std::string culprit;
  EXPECT_EQ(list.judge(start, culprit), ProgramList::Verdict::NOT_LISTED);
  EXPECT_EQ(culprit, "/opt/shell");
}

TEST(ProgramList, what_cannot_be_started_anyway_is_no_attempt_and_what_cannot_be_read_is_unknown) {
  const ProgramList list = ProgramList::of({"/usr"});
  std::string culprit;
  EXPECT_EQ(list.judge(start_of("", ENOENT), culprit), ProgramList::Verdict::NO_PROGRAM);
  EXPECT_EQ(list.judge(start_of("/opt/script", ENOENT), culprit), ProgramList::Verdict::NOT_LISTED);
  EXPECT_EQ(list.judge(ProgramStart{}, culprit), ProgramList::Verdict::UNKNOWN);
}

}  // namespace
}  // namespace penstock
