#include "pool/runtimes/gateway/error_lines.h"

#include "src/base/assert.h"

#include <climits>
#include <cstdio>
#include <poll.h>
#include <unistd.h>

namespace penstock {

bool ErrorOutput::put(std::string_view whole) const {
  // A pipe is writable when it has room for PIPE_BUF bytes (pipe(7)).
  pollfd waits{.fd = fd_, .events = POLLOUT, .revents = 0};
  if (::poll(&waits, 1, 0) != 1 || (waits.revents & POLLOUT) == 0) return false;
  return ::write(fd_, whole.data(), whole.size()) == static_cast<ssize_t>(whole.size());
}

void ErrorOutput::line(std::string_view prefix, std::string_view text) {
  ASSERT(prefix.size() + text.size() < PIPE_BUF);
  if (lost_ > 0) {
    if (!put(std::to_string(lost_) + " lines were lost: nobody read this log\n")) {
      ++lost_;
      return;
    }
    lost_ = 0;
  }
  std::string whole(prefix);
  whole.append(text).append("\n");
  if (!put(whole)) ++lost_;
}

void ErrorLines::add(char byte) {
  const auto code = static_cast<unsigned char>(byte);
  if ((code >= 0x20 && code != 0x7f) || byte == '\t') {
    line_ += byte;
    return;
  }
  char escaped[5];
  (void)std::snprintf(escaped, sizeof escaped, "\\x%02x", code);
  line_ += escaped;
}

void ErrorLines::feed(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\n') {
      if (line_.ends_with("\\x0d")) line_.resize(line_.size() - 4);
      output_.line(prefix_, line_);
      line_.clear();
      continue;
    }
    add(bytes[i]);
    if (line_.size() >= ErrorOutput::LINE_BYTES_MAX) finish();
  }
}

void ErrorLines::finish() {
  if (line_.empty()) return;
  output_.line(prefix_, line_);
  line_.clear();
}

}  // namespace penstock
