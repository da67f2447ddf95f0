#include "src/admin/operator_log.h"

#include <ctime>
#include <poll.h>
#include <unistd.h>

namespace penstock {
namespace {

// <3>, <4>, <5>: what sd-daemon(3) reads at the start of a line.
constexpr std::string_view JOURNAL_PREFIX[] = {"<3>", "<4>", "<5>"};
constexpr std::string_view WORD[] = {"error: ", "warning: ", ""};

}  // namespace

std::string escape_line(std::string_view text, size_t bytes_max) {
  static constexpr char HEX[] = "0123456789abcdef";
  std::string line;
  line.reserve(text.size());
  for (const char c : text) {
    if (line.size() + 4 > bytes_max) {
      line += "...";
      break;
    }
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      line += {'\\', 'x', HEX[u >> 4], HEX[u & 15]};
    } else {
      line += c;
    }
  }
  return line;
}

std::string iso_time(WallTime when) {
  const time_t seconds = when.unix_seconds();
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  const size_t n = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text, n};
}

// Of a pipe, a terminal and a socket it is true when a line of LINE_BYTES_MAX can be written without waiting; of a file
// always. An error is room, too: the write then says so at once.
bool OperatorLog::has_room() const {
  pollfd out{.fd = fd_, .events = POLLOUT, .revents = 0};
  return ::poll(&out, 1, lost_ == 0 ? static_cast<int>(PATIENCE.ms()) : 0) > 0;
}

void OperatorLog::put(WallTime when, Severity severity, std::string_view text) const {
  const auto level = static_cast<size_t>(severity);
  std::string line(to_journal_ ? std::string(JOURNAL_PREFIX[level])
                               : iso_time(when) + " penstock: " + std::string(WORD[level]));
  line += text;
  line += '\n';
  [[maybe_unused]] const ssize_t n = ::write(fd_, line.data(), line.size());
}

void OperatorLog::say(Severity severity, std::string_view text) {
  OperatorEvent event{clock_.wall(), severity, escape_line(text, LINE_BYTES_MAX)};
  if (lost_ > 0 && has_room()) {
    put(event.when, Severity::WARNING, std::to_string(lost_) + " lines before this one are lost: nobody took them");
    lost_ = 0;
  }
  // A full pipe or a closed terminal must not stop the supervisor; the event is still in recent().
  if (lost_ == 0 && has_room()) {
    put(event.when, severity, event.text);
  } else {
    ++lost_;
  }
  recent_.push_back(std::move(event));
  if (recent_.size() > KEPT) recent_.pop_front();
}

}  // namespace penstock
