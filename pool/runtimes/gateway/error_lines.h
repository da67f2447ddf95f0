// What applications write to stderr, line by line to the stderr of this process, which is the worker's log pipe.
//
// ErrorOutput never blocks: where the pipe is full, lines are counted and the count is written as soon as there is
// room. ErrorLines cuts a stream of bytes into lines: longer ones than LINE_BYTES_MAX go on in the next, and bytes that
// could confuse who reads the log are written as \xNN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

class ErrorOutput {
 public:
  static constexpr size_t LINE_BYTES_MAX = 2'048;
  explicit ErrorOutput(int fd) : fd_(fd) {}
  // One line, without its end. REQUIRES: at most PIPE_BUF bytes with the prefix, so that a pipe takes it whole.
  void line(std::string_view prefix, std::string_view text);
  [[nodiscard]] uint64_t lost() const { return lost_; }

 private:
  [[nodiscard]] bool put(std::string_view whole) const;
  int fd_;
  uint64_t lost_ = 0;  // lines, since the last one that was written
};

class ErrorLines {
 public:
  ErrorLines(ErrorOutput& output, std::string prefix) : output_(output), prefix_(std::move(prefix)) {}
  void feed(std::string_view bytes);
  void finish();  // the last line, if it has no end

 private:
  void add(char byte);
  ErrorOutput& output_;
  std::string prefix_;
  std::string line_;
};

}  // namespace penstock
