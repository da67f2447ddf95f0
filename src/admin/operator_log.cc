#include "src/admin/operator_log.h"

#include <ctime>
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

void OperatorLog::say(Severity severity, std::string_view text) {
  const auto level = static_cast<size_t>(severity);
  OperatorEvent event{clock_.wall(), severity, escape_line(text, LINE_BYTES_MAX)};
  std::string line;
  if (to_journal_) {
    line = std::string(JOURNAL_PREFIX[level]) + event.text + "\n";
  } else {
    line = iso_time(event.when) + " penstock: " + std::string(WORD[level]) + event.text + "\n";
  }
  // A full pipe or a closed terminal must not stop the supervisor; the event is still in recent().
  [[maybe_unused]] const ssize_t n = ::write(fd_, line.data(), line.size());
  recent_.push_back(std::move(event));
  if (recent_.size() > KEPT) recent_.pop_front();
}

}  // namespace penstock
