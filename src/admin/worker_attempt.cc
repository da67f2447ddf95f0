#include "src/admin/worker_attempt.h"

#include <utility>

namespace penstock {
namespace {

void judge_start(const WaitingCall& call, const ProgramList& list, bool may_start, WorkerAttempt& attempt) {
  const ProgramStart start = read_program_start(call);
  std::string culprit;
  const ProgramList::Verdict verdict = list.judge(start, culprit);
  attempt.kind = AlarmKind::PROGRAM;
  attempt.error = start.error;
  attempt.what = start.file ? start.file->path : start.asked;
  if (!culprit.empty() && culprit != attempt.what) {
    attempt.detail = "for " + std::exchange(attempt.what, culprit);
  } else if (start.asked != attempt.what) {
    attempt.detail = "asked for as " + start.asked;
  }
  if (!may_start) {
    if (attempt.what.empty()) attempt.what = syscall_name(call);
    return;
  }
  attempt.landlock_refuses = true;
  if (verdict == ProgramList::Verdict::NO_PROGRAM) attempt.verdict = WorkerAttempt::Verdict::NO_PROGRAM;
  if (verdict == ProgramList::Verdict::LISTED || verdict == ProgramList::Verdict::UNKNOWN) {
    attempt.verdict = WorkerAttempt::Verdict::PROGRAM;
    if (start.file) attempt.files.push_back(start.file->path);
    for (const ProgramFile& interpreter : start.interpreters) attempt.files.push_back(interpreter.path);
  }
}

}  // namespace

std::optional<WorkerAttempt> look_at_call(const SyscallListener& listener, const WaitingCall& call,
                                          const ProgramList& list, WorkerSyscalls profile) {
  WorkerAttempt attempt;
  const auto origin = read_origin(call.thread);
  if (!origin) return std::nullopt;
  attempt.origin = *origin;
  const bool process = (static_cast<unsigned>(profile) & static_cast<unsigned>(WorkerSyscalls::PROCESS)) != 0;
  if (starts_program(call)) {
    judge_start(call, list, process && syscall_name(call) == "execve", attempt);
    if (attempt.verdict != WorkerAttempt::Verdict::NO_PROGRAM) attempt.hint = read_request_hint(call);
  } else {
    attempt.what = syscall_name(call);
  }
  // Otherwise all this may have been read of another process that got its number.
  if (!listener.waits(call)) return std::nullopt;
  return attempt;
}

}  // namespace penstock
