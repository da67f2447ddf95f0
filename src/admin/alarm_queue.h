// AlarmQueue: which alarm goes to alarm.exec when: a few at a time, again after a failure, and not for ever.
//
// Pure: no process, no clock. Owned by the supervisor. Bounded: where it is full an alarm is not taken, which add()
// says and refused() counts; the alarm is in the book and in the log all the same.
#pragma once

#include "src/base/time.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

class AlarmQueue {
 public:
  static constexpr size_t WAITING_MAX = 64;
  static constexpr size_t RUNNING_MAX = 4;
  static constexpr uint32_t TRIES_MAX = 5;
  static constexpr Duration FIRST_PAUSE = seconds(1);  // after the first failure; doubled after each

  struct Delivery {
    uint64_t alarm = 0;
    uint32_t tries = 0;   // with this one
    std::string message;  // for its standard input
    std::vector<std::string> words, variables;
  };

  [[nodiscard]] bool add(Delivery delivery, MonoTime now);  // false: full
  // The next that is due, now under way: tell its end by done().
  [[nodiscard]] std::optional<Delivery> next(MonoTime now);
  enum class Outcome : uint8_t { TOLD, AGAIN, GIVEN_UP };
  Outcome done(Delivery delivery, bool succeeded, MonoTime now);

  [[nodiscard]] MonoTime next_deadline() const;  // of next()
  [[nodiscard]] size_t waiting() const { return waiting_.size(); }
  [[nodiscard]] size_t running() const { return running_; }
  [[nodiscard]] uint64_t refused() const { return refused_; }
  [[nodiscard]] uint64_t given_up() const { return given_up_; }
  [[nodiscard]] uint64_t told() const { return told_; }

 private:
  struct Waiting {
    Delivery delivery;
    MonoTime due;
  };
  std::vector<Waiting> waiting_;  // by arrival
  size_t running_ = 0;
  uint64_t refused_ = 0, given_up_ = 0, told_ = 0;
};

}  // namespace penstock
