#include "src/config/parse.h"

#include "src/base/bytes.h"
#include "src/base/unique_fd.h"
#include "src/config/text.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_map>

namespace penstock {
namespace {

bool is_key(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alnum(c) || c == '.' || c == '_' || c == '-' || c == '+' || c == '*';
  });
}

// Collects what one text holds.
class Reader {
 public:
  explicit Reader(std::string_view source) : source_(source) {}

  void read_line(std::string_view line) {
    ++line_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = trim_ows(line);
    if (line.empty() || line.front() == '#') {
      if (!is_clean_text(line, true)) add_error({}, "expected UTF-8 text without control characters in a comment");
      return;
    }
    if (line.size() > CONFIG_LINE_BYTES_MAX) {
      return add_error({}, fmt::format("expected a line of at most {} bytes", CONFIG_LINE_BYTES_MAX));
    }
    if (!is_clean_text(line, true)) {
      return add_error({}, "expected UTF-8 text without control characters, got " + quote_for_message(line));
    }
    read_assignment(line);
  }

  [[nodiscard]] bool full() const { return result_.errors.size() >= CONFIG_ERRORS_MAX; }

  ParseResult take() { return std::move(result_); }

 private:
  void read_assignment(std::string_view line) {
    const size_t equals = line.find('=');
    const std::string_view key = trim_ows(line.substr(0, equals));
    if (equals == std::string_view::npos || !is_key(key)) {
      return add_error({}, "expected key = value, got " + quote_for_message(line));
    }
    std::string_view value = trim_ows(line.substr(equals + 1));
    const auto end = find_value_end(value);
    if (!end) return add_error(key, fmt::format("expected {}, got {}", end.error(), quote_for_message(value)));
    value = trim_ows(value.substr(0, *end));
    const auto [seen, first] = lines_.try_emplace(key, line_);
    if (!first) {
      return add_error(key, fmt::format("expected each key once, got it on lines {} and {}", seen->second, line_));
    }
    result_.assignments.push_back({std::string(key), std::string(value), source_, line_});
  }

  void add_error(std::string_view key, std::string message) {
    result_.errors.push_back({source_, line_, std::string(key), std::move(message)});
    if (full()) result_.errors.push_back({source_, 0, {}, "expected fewer errors: what follows was not looked at"});
  }

  const std::string source_;
  uint32_t line_ = 0;
  std::unordered_map<std::string_view, uint32_t> lines_;  // key (a view into the text) to its line
  ParseResult result_;
};

}  // namespace

ParseResult parse_text(std::string_view text, std::string_view source) {
  if (text.size() > CONFIG_TEXT_BYTES_MAX) {
    return {{}, {{std::string(source), 0, {}, fmt::format("expected at most {} bytes", CONFIG_TEXT_BYTES_MAX)}}};
  }
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  Reader reader(source);
  while (!text.empty() && !reader.full()) {
    const size_t end = std::min(text.find('\n'), text.size());
    reader.read_line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return reader.take();
}

ConfigResult<Assignment> parse_assignment(std::string_view text, std::string_view source) {
  const auto bad = [&](std::string_view key, std::string message) {
    return std::unexpected(ConfigErrors{{std::string(source), 0, std::string(key), std::move(message)}});
  };
  const size_t equals = text.find('=');
  const std::string_view key = trim_ows(text.substr(0, equals));
  if (equals == std::string_view::npos || !is_key(key)) {
    return bad({}, "expected KEY=VALUE, got " + quote_for_message(text));
  }
  const std::string_view value = trim_ows(text.substr(equals + 1));
  if (value.size() > CONFIG_LINE_BYTES_MAX || !is_clean_text(value, true)) {
    return bad(key, "expected UTF-8 text of one line without control characters, got " + quote_for_message(value));
  }
  return Assignment{std::string(key), std::string(value), std::string(source), 0};
}

Result<std::string> read_config_file(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not hang the supervisor.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return fail_errno("open " + path);
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return fail_errno("stat " + path);
  if (!S_ISREG(status.st_mode)) return fail(path + ": not a regular file");
  std::string text;
  std::string chunk(size_t{64} << 10, '\0');
  while (true) {
    const ssize_t got = ::read(fd.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read " + path);
    if (got == 0) return text;
    text.append(chunk, 0, static_cast<size_t>(got));
    if (text.size() > CONFIG_TEXT_BYTES_MAX) {
      return fail(fmt::format("{}: longer than {} bytes", path, CONFIG_TEXT_BYTES_MAX));
    }
  }
}

}  // namespace penstock
