// Invariants: line_ is what of an unfinished line has come; head_ the CGI head as far as it is understood.
#include "pool/runtimes/upstream/response_reader.h"

#include "src/base/assert.h"
#include "src/base/bytes.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

// RFC 9110 section 7.6.1, and Status, which is a CGI program's to say and not a field of HTTP.
constexpr std::string_view OF_THE_CONNECTION[] = {"connection", "keep-alive", "proxy-connection",  "te",
                                                  "trailer",    "upgrade",    "transfer-encoding", "status"};
constexpr size_t SIZE_DIGITS_MAX = 15;

// The next item of a comma-separated list, taken off `list`; empty ones and blanks around them are left out.
std::string_view next_item(std::string_view& list) {
  const size_t comma = list.find(',');
  const std::string_view item = trim_ows(list.substr(0, comma));
  list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  return item;
}

}  // namespace

bool ResponseReader::refuse(std::string_view error) {
  error_ = error;
  return false;
}

std::string_view ResponseReader::line() const {
  std::string_view line = line_;
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool ResponseReader::take_line(std::string_view bytes, size_t& consumed, size_t most) {
  const size_t end = bytes.find('\n', consumed);
  const size_t size = (end == std::string_view::npos ? bytes.size() : end + 1) - consumed;
  if (line_.size() + size > most) return refuse("sent a line or a head that is too long");
  line_.append(bytes.substr(consumed, size));
  consumed += size;
  if (!has_line() || grammar_ == Grammar::CGI) return true;
  const bool strict = line_.ends_with("\r\n") && line_.find('\r') == line_.size() - 2;
  return strict || refuse("sent a line that does not end in CRLF");
}

ResponseReader::State ResponseReader::next(std::string_view bytes, size_t& consumed, std::string_view& piece) {
  ASSERT(!ended());
  consumed = 0;
  for (;;) {
    switch (phase_) {
      case Phase::SHOW_HEAD:
        phase_ = body_;
        piece = head_;
        return State::PIECE;
      case Phase::SIZED:
      case Phase::CHUNK:
      case Phase::UNTIL_CLOSE: {
        if (consumed == bytes.size()) return State::NEED_MORE;
        const bool bounded = phase_ != Phase::UNTIL_CLOSE;
        const size_t room = bytes.size() - consumed;
        piece = bytes.substr(consumed, bounded ? static_cast<size_t>(std::min<uint64_t>(room, left_)) : room);
        consumed += piece.size();
        if (!bounded) return State::PIECE;
        left_ -= piece.size();
        if (left_ == 0) phase_ = phase_ == Phase::CHUNK ? Phase::CHUNK_END : Phase::ENDED;
        return State::PIECE;
      }
      case Phase::ENDED:  // after the last trailer
        piece = {};
        return State::PIECE;
      default:
        if (consumed == bytes.size()) return State::NEED_MORE;
        if (!step(bytes, consumed)) return State::BAD;
    }
  }
}

// One line, or what there is of it.
bool ResponseReader::step(std::string_view bytes, size_t& consumed) {
  if (phase_ == Phase::HEAD) {
    const size_t before = line_.size();
    if (!take_line(bytes, consumed, HEAD_BYTES_MAX - head_bytes_ + before)) return false;
    head_bytes_ += line_.size() - before;
    return !has_line() || take_head_line();
  }
  const bool trailer = phase_ == Phase::TRAILER;
  if (!take_line(bytes, consumed, trailer ? TRAILER_BYTES_MAX : LINE_BYTES_MAX)) return false;
  if (!has_line()) return true;
  bool good = true;
  if (phase_ == Phase::CHUNK_SIZE) {
    good = take_chunk_size();
  } else if (phase_ == Phase::CHUNK_END) {
    good = line().empty() || refuse("sent a chunk that is longer than its size");
    phase_ = Phase::CHUNK_SIZE;
  } else {  // what is in trailers is dropped
    head_bytes_ += line_.size();
    if (head_bytes_ > HEAD_BYTES_MAX + TRAILER_BYTES_MAX) return refuse("sent trailers that are too long");
    if (line().empty()) phase_ = Phase::ENDED;
  }
  line_.clear();
  return good;
}

bool ResponseReader::take_head_line() {
  const std::string whole = std::exchange(line_, {});
  std::string_view text = whole;
  text.remove_suffix(text.ends_with("\r\n") ? 2 : 1);
  const bool first = !has_status_line_ && head_.empty();
  if (first && (grammar_ == Grammar::HTTP || text.starts_with("HTTP/"))) return take_status_line(text);
  if (!text.empty()) return take_field(text);
  if (status_ >= 200 || status_ == 0) return finish_head();
  // Only HTTP has interim answers (RFC 9110 section 15.2); nobody asked to change the protocol.
  if (grammar_ == Grammar::CGI || status_ == 101) return refuse("sent an interim answer that it was not asked for");
  if (++interim_ > INTERIM_MAX) return refuse("sent more than 16 interim answers");
  *this = [&] {
    ResponseReader again(grammar_, answers_head_);
    again.interim_ = interim_;
    return again;
  }();
  return true;
}

// RFC 9112 section 4: HTTP-version SP status-code SP [reason-phrase]; the last blank is often missing.
bool ResponseReader::take_status_line(std::string_view line) {
  const bool version = line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 ");
  const std::string_view rest = line.substr(std::min<size_t>(line.size(), 9));
  const auto status = parse_decimal(rest.substr(0, 3));
  if (!version || !status || *status < 100 || *status > 599 || (rest.size() > 3 && rest[3] != ' ') || rest.size() < 3) {
    return refuse("sent a status line that is none");
  }
  has_status_line_ = true;
  is_old_ = line[7] == '0';
  status_ = static_cast<unsigned>(*status);
  head_.append("Status: ").append(rest.substr(0, 3)).append("\r\n");
  return true;
}

bool ResponseReader::take_field(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return refuse("sent a line without a colon");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim_ows(line.substr(colon + 1));
  if (iequals(name, "content-length")) {
    const auto length = parse_decimal(value);
    if (!length || *length > INT64_MAX) return refuse("sent a Content-Length that is no number");
    if (has_length_) return refuse("sent two Content-Length fields");
    has_length_ = true;
    left_ = *length;
  }
  if (iequals(name, "transfer-encoding")) {
    if (grammar_ == Grammar::CGI) return refuse("sent a Transfer-Encoding, which its protocol has not");
    if (is_old_ || is_chunked_ || !iequals(value, "chunked"))
      return refuse("sent a Transfer-Encoding that is not chunked");
    is_chunked_ = true;
  }
  if (grammar_ == Grammar::HTTP && iequals(name, "connection")) {
    for (std::string_view list = value; !list.empty();) {
      const std::string_view item = next_item(list);
      if (iequals(item, "close")) says_close_ = true;
      if (iequals(item, "keep-alive")) says_keep_ = true;
      dropped_.append(",").append(item);
      std::transform(item.begin(), item.end(), dropped_.end() - static_cast<ptrdiff_t>(item.size()), ascii_lower);
    }
  }
  if (grammar_ == Grammar::HTTP && iequals_any(name, OF_THE_CONNECTION)) return true;
  if (iequals(name, "status")) {
    if (has_status_line_) return true;                                               // which has said it
    status_ = static_cast<unsigned>(parse_decimal(value.substr(0, 3)).value_or(0));  // whether it is one, others say
  }
  head_.append(line).append("\r\n");
  return true;
}

bool ResponseReader::finish_head() {
  if (is_chunked_ && has_length_) return refuse("sent a Content-Length and a Transfer-Encoding");
  if (!dropped_.empty()) {  // what belongs to the connection because Connection says so
    std::string kept;
    dropped_ += ',';
    for (std::string_view left = head_; !left.empty();) {
      const std::string_view one = left.substr(0, left.find('\n') + 1);
      left.remove_prefix(one.size());
      std::string name(1, ',');
      for (const char c : one.substr(0, one.find(':'))) name += ascii_lower(c);
      const bool needed = iequals_any(std::string_view(name).substr(1), {"status", "content-length"});
      if (needed || dropped_.find(name + ",") == std::string::npos) kept += one;
    }
    head_ = std::move(kept);
  }
  head_ += "\r\n";
  const bool http = grammar_ == Grammar::HTTP;
  const bool bodyless = answers_head_ || status_ == 204 || status_ == 304;
  keeps_ = http && !says_close_ && (!is_old_ || says_keep_);
  if (bodyless) {
    body_ = http ? Phase::ENDED : Phase::UNTIL_CLOSE;  // who is told to send none may all the same
  } else if (is_chunked_) {
    body_ = Phase::CHUNK_SIZE;
  } else if (has_length_) {
    body_ = left_ == 0 ? Phase::ENDED : Phase::SIZED;
  } else {
    body_ = Phase::UNTIL_CLOSE;
    keeps_ = false;
  }
  phase_ = Phase::SHOW_HEAD;
  return true;
}

// RFC 9112 section 7.1; extensions are passed over.
bool ResponseReader::take_chunk_size() {
  const std::string_view text = line();
  size_t digits = 0;
  left_ = 0;
  for (; digits < text.size() && hex_digit(text[digits]) >= 0; ++digits) {
    if (digits == SIZE_DIGITS_MAX) return refuse("sent a chunk that is too large");
    left_ = left_ * 16 + static_cast<uint64_t>(hex_digit(text[digits]));
  }
  const std::string_view rest = trim_ows(text.substr(digits));
  if (digits == 0 || (!rest.empty() && rest.front() != ';')) return refuse("sent a chunk without a size");
  phase_ = left_ == 0 ? Phase::TRAILER : Phase::CHUNK;
  return true;
}

bool ResponseReader::close() {
  switch (phase_) {
    case Phase::UNTIL_CLOSE:
      phase_ = Phase::ENDED;
      keeps_ = false;
      return true;
    case Phase::HEAD:
      return refuse(head_bytes_ == 0 && interim_ == 0 ? "closed its connection without an answer"
                                                      : "closed its connection before its head was whole");
    default:
      return refuse("closed its connection in the middle of its answer");
  }
}

}  // namespace penstock
