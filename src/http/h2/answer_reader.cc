#include "src/http/h2/answer_reader.h"

#include "src/base/bytes.h"
#include "src/http/status.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace penstock {
namespace {

constexpr size_t HEAD_BYTES_MAX = 256 * 1024;  // far more than our own server ever writes
constexpr size_t LINE_BYTES_MAX = 4 * 1024;    // of chunk framing

// RFC 9113 section 8.2.2.
bool is_connection_field(std::string_view name) {
  constexpr std::array<std::string_view, 5> NAMES = {"connection", "keep-alive", "proxy-connection",
                                                     "transfer-encoding", "upgrade"};
  return std::ranges::find(NAMES, name) != NAMES.end();
}

}  // namespace

H2AnswerReader::Step H2AnswerReader::next(const SendPart& part, uint64_t offset, H2AnswerHead& out) {
  const uint64_t size = part.size - offset;
  switch (stage_) {
    case Stage::LENGTH:
    case Stage::CHUNK_DATA: {
      const uint64_t body = std::min(size, left_);
      left_ -= body;
      if (left_ == 0) stage_ = stage_ == Stage::LENGTH ? Stage::DONE : Stage::CHUNK_END;
      return {Kind::BODY, body};
    }
    case Stage::UNTIL_CLOSE:
      return {Kind::BODY, size};
    case Stage::DONE:
      return {Kind::NOTHING, size};
    case Stage::BROKEN:
      return broken();
    case Stage::HEAD:
    case Stage::CHUNK_LINE:
    case Stage::CHUNK_END:
    case Stage::TRAILERS:
      break;
  }
  if (part.fd >= 0) return broken();  // a head or framing in a file: not our server's
  const std::string_view bytes{static_cast<const char*>(part.data) + offset, static_cast<size_t>(size)};
  return stage_ == Stage::HEAD ? head(bytes, out) : framing(bytes);
}

H2AnswerReader::Step H2AnswerReader::head(std::string_view bytes, H2AnswerHead& out) {
  constexpr std::string_view END = "\r\n\r\n";
  size_t consumed = 0;
  if (line_.empty()) {
    const size_t at = bytes.find(END);
    if (at == std::string_view::npos) {
      line_.assign(bytes);
      return line_.size() > HEAD_BYTES_MAX ? broken() : Step{Kind::NOTHING, bytes.size()};
    }
    consumed = at + END.size();
    out.text.assign(bytes.substr(0, consumed));
  } else {
    const size_t before = line_.size();
    line_.append(bytes);
    const size_t at = line_.find(END, before - std::min(before, END.size() - 1));
    if (at == std::string::npos) {
      return line_.size() > HEAD_BYTES_MAX ? broken() : Step{Kind::NOTHING, bytes.size()};
    }
    consumed = at + END.size() - before;
    out.text.assign(line_, 0, at + END.size());
    line_.clear();
  }
  return read_head(out) ? Step{Kind::HEAD, consumed} : broken();
}

// `line` is without its CRLF; `name` the same bytes, writable.
bool H2AnswerReader::read_field(std::string_view line, char* name, H2AnswerHead& out) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  for (size_t i = 0; i < colon; ++i) {
    if (name[i] >= 'A' && name[i] <= 'Z') name[i] = static_cast<char>(name[i] | 0x20);
  }
  const H2Field field{line.substr(0, colon), trim_ows(line.substr(colon + 1))};
  if (field.name == "content-length") {
    const auto length = parse_decimal(field.value);
    if (!length) return false;
    has_length_ = true;
    left_ = *length;
  } else if (is_connection_field(field.name)) {
    if (field.name == "transfer-encoding") chunked_ = true;
    return true;
  }
  out.fields.push_back(field);
  return true;
}

bool H2AnswerReader::read_head(H2AnswerHead& out) {
  std::string_view rest = out.text;
  constexpr std::string_view START = "HTTP/1.1 ";
  const auto digits = rest.substr(0, START.size() + 3).substr(std::min(START.size(), rest.size()));
  const auto status = parse_decimal(digits);
  if (!rest.starts_with(START) || digits.size() != 3 || !status || *status < 100) return false;
  out.status = static_cast<uint16_t>(*status);
  out.fields.clear();
  out.fields.push_back({":status", digits});
  chunked_ = has_length_ = false;
  rest.remove_prefix(rest.find("\r\n") + 2);
  while (true) {
    const size_t end = rest.find("\r\n");
    if (end == 0) break;
    const auto at = static_cast<size_t>(rest.data() - out.text.data());
    if (!read_field(rest.substr(0, end), out.text.data() + at, out)) return false;
    rest.remove_prefix(end + 2);
  }
  out.is_final = out.status >= 200;
  out.has_body = false;
  if (!out.is_final) return true;  // the stage stays: another head follows
  if (is_head_method_ || status_is_bodiless(out.status)) {
    stage_ = Stage::DONE;
  } else if (chunked_) {
    stage_ = Stage::CHUNK_LINE;
  } else if (has_length_) {
    stage_ = left_ == 0 ? Stage::DONE : Stage::LENGTH;
  } else {
    stage_ = Stage::UNTIL_CLOSE;
  }
  out.has_body = stage_ != Stage::DONE;
  return true;
}

// RFC 9112 section 7.1: a size line, the line end behind a chunk, or a trailer line.
H2AnswerReader::Step H2AnswerReader::framing(std::string_view bytes) {
  const size_t newline = bytes.find('\n');
  const size_t consumed = newline == std::string_view::npos ? bytes.size() : newline + 1;
  if (line_.size() + consumed > LINE_BYTES_MAX) return broken();
  line_.append(bytes.substr(0, consumed));
  if (newline == std::string_view::npos) return {Kind::NOTHING, consumed};
  if (!line_.ends_with("\r\n")) return broken();
  line_.resize(line_.size() - 2);
  if (stage_ == Stage::CHUNK_LINE) {
    if (!chunk_line()) return broken();
  } else if (stage_ == Stage::CHUNK_END) {
    if (!line_.empty()) return broken();
    stage_ = Stage::CHUNK_LINE;
  } else if (line_.empty()) {
    stage_ = Stage::DONE;
  }
  line_.clear();
  return {Kind::NOTHING, consumed};
}

bool H2AnswerReader::chunk_line() {
  const std::string_view size = std::string_view(line_).substr(0, line_.find(';'));
  const auto read = std::from_chars(size.data(), size.data() + size.size(), left_, 16);
  if (size.empty() || read.ec != std::errc{} || read.ptr != size.data() + size.size()) return false;
  stage_ = left_ == 0 ? Stage::TRAILERS : Stage::CHUNK_DATA;
  return true;
}

}  // namespace penstock
