#include "src/http/h2/answer_reader.h"

#include "src/base/bytes.h"
#include "src/http/h2/fields.h"
#include "src/http/status.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace penstock {
namespace {

constexpr size_t HEAD_BYTES_MAX = 256 * 1024;  // far more than our own server ever writes
constexpr size_t LINE_BYTES_MAX = 4 * 1024;    // of chunk framing
constexpr size_t TRAILER_BYTES_MAX = 16 * 1024;

// RFC 9110 section 6.5.1: what frames, routes, modifies, authenticates or describes a message cannot come behind it.
bool may_be_trailer(std::string_view name) {
  constexpr std::string_view NEVER =
      " accept-ranges age allow authentication-info authorization cache-control content-encoding content-language"
      " content-length content-location content-range content-type cookie date expect expires host if-match"
      " if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma"
      " proxy-authenticate proxy-authorization range retry-after set-cookie strict-transport-security te trailer vary"
      " via warning www-authenticate ";
  return !is_connection_field(name) && NEVER.find(" " + std::string(name) + " ") == std::string_view::npos;
}

// The size of the head at the front of `bytes`, with its empty line; 0: it is not complete.
size_t head_size(std::string_view bytes) {
  size_t at = bytes.find('\n');
  while (at != std::string_view::npos && !bytes.substr(at + 1).starts_with("\r\n")) at = bytes.find('\n', at + 1);
  return at == std::string_view::npos ? 0 : at + 3;
}

// nghttp2 reads it where it lies, and writes nothing.
nghttp2_nv lent_field(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view text) { return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data())); };
  return {bytes(name), bytes(value), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

}  // namespace

H2AnswerReader::Step H2AnswerReader::next(const SendPart& part, uint64_t offset, H2AnswerHeads& heads) {
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
  return stage_ == Stage::HEAD ? head(bytes, heads) : framing(bytes);
}

H2AnswerReader::Step H2AnswerReader::head(std::string_view bytes, H2AnswerHeads& heads) {
  constexpr std::string_view END = "\r\n\r\n";
  size_t consumed = 0;
  if (line_.empty()) {
    // The head of a hot answer is often the one that was read before it, to the last byte.
    const H2AnswerHead& known = heads.newest();
    if (!known.source.empty() && bytes.starts_with(known.source)) {
      begin_body(known);
      return {Kind::HEAD, known.source.size()};
    }
    consumed = head_size(bytes);
    if (consumed == 0) {
      line_.assign(bytes);
      return line_.size() > HEAD_BYTES_MAX ? broken() : Step{Kind::NOTHING, bytes.size()};
    }
    heads.renew().source.assign(bytes.substr(0, consumed));
  } else {
    const size_t before = line_.size();
    line_.append(bytes);
    const size_t at = line_.find(END, before - std::min(before, END.size() - 1));
    if (at == std::string::npos) {
      return line_.size() > HEAD_BYTES_MAX ? broken() : Step{Kind::NOTHING, bytes.size()};
    }
    consumed = at + END.size() - before;
    heads.renew().source.assign(line_, 0, at + END.size());
    line_.clear();
  }
  H2AnswerHead& out = heads.newest();
  if (!read_head(out)) {
    out.source.clear();
    return broken();
  }
  begin_body(out);
  return {Kind::HEAD, consumed};
}

// `line` is without its CRLF; `name` the same bytes, writable.
bool H2AnswerReader::read_field(std::string_view line, char* name, H2AnswerHead& out) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  for (size_t i = 0; i < colon; ++i) {
    if (name[i] >= 'A' && name[i] <= 'Z') name[i] = static_cast<char>(name[i] | 0x20);
  }
  const std::string_view field_name = line.substr(0, colon);
  const std::string_view value = trim_ows(line.substr(colon + 1));
  if (field_name == "content-length") {
    const auto length = parse_decimal(value);
    if (!length) return false;
    out.has_length = true;
    out.length = *length;
  } else if (is_connection_field(field_name)) {
    if (field_name == "transfer-encoding") out.chunked = true;
    return true;
  }
  out.fields.push_back(lent_field(field_name, value));
  return true;
}

bool H2AnswerReader::read_head(H2AnswerHead& out) {
  out.text = out.source;
  std::string_view rest = out.text;
  constexpr std::string_view START = "HTTP/1.1 ";
  const auto digits = rest.substr(0, START.size() + 3).substr(std::min(START.size(), rest.size()));
  const auto status = parse_decimal(digits);
  if (!rest.starts_with(START) || digits.size() != 3 || !status || *status < 100) return false;
  out.status = static_cast<uint16_t>(*status);
  out.fields.clear();
  out.fields.push_back(lent_field(":status", digits));
  out.chunked = out.has_length = false;
  rest.remove_prefix(rest.find("\r\n") + 2);
  while (true) {
    const size_t end = rest.find("\r\n");
    if (end == 0) break;
    const auto at = static_cast<size_t>(rest.data() - out.text.data());
    if (!read_field(rest.substr(0, end), out.text.data() + at, out)) return false;
    rest.remove_prefix(end + 2);
  }
  out.is_final = out.status >= 200;
  return true;
}

// What follows the head, by its fields and the request's method.
void H2AnswerReader::begin_body(const H2AnswerHead& head) {
  if (!head.is_final) return;  // the stage stays: another head follows
  left_ = head.length;
  if (is_head_method_ || status_is_bodiless(head.status)) {
    stage_ = Stage::DONE;
  } else if (head.chunked) {
    stage_ = Stage::CHUNK_LINE;
  } else if (head.has_length) {
    stage_ = left_ == 0 ? Stage::DONE : Stage::LENGTH;
  } else {
    stage_ = Stage::UNTIL_CLOSE;
  }
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
  } else if (!trailer_line()) {
    return broken();
  }
  line_.clear();
  return {Kind::NOTHING, consumed};
}

bool H2AnswerReader::trailer_line() {
  const size_t colon = line_.find(':');
  if (colon == std::string::npos || colon == 0) return false;
  std::transform(line_.begin(), line_.begin() + static_cast<ptrdiff_t>(colon), line_.begin(), ascii_lower);
  if (!may_be_trailer(std::string_view(line_).substr(0, colon))) return true;
  trailers_.append(line_).append("\r\n");
  return trailers_.size() <= TRAILER_BYTES_MAX;
}

void H2AnswerReader::take_trailers(H2AnswerHead& out) {
  out.source.clear();
  out.text = std::exchange(trailers_, {});
  out.status = 0;
  out.is_final = out.chunked = out.has_length = false;
  out.fields.clear();
  for (std::string_view rest = out.text; !rest.empty();) {
    const size_t end = rest.find("\r\n");
    const std::string_view line = rest.substr(0, end);
    const size_t colon = line.find(':');
    out.fields.push_back(lent_field(line.substr(0, colon), trim_ows(line.substr(colon + 1))));
    rest.remove_prefix(end + 2);
  }
}

bool H2AnswerReader::chunk_line() {
  const std::string_view size = std::string_view(line_).substr(0, line_.find(';'));
  const auto read = std::from_chars(size.data(), size.data() + size.size(), left_, 16);
  if (size.empty() || read.ec != std::errc{} || read.ptr != size.data() + size.size()) return false;
  stage_ = left_ == 0 ? Stage::TRAILERS : Stage::CHUNK_DATA;
  return true;
}

}  // namespace penstock
