#include "pool/runtimes/upstream/fcgi_record.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr unsigned char VERSION = 1;
constexpr char RESPONDER = 1;
constexpr char KEEP_CONNECTION = 1;

void put_header(std::string& to, FcgiType type, uint16_t id, size_t content_bytes) {
  const char header[FCGI_HEADER_BYTES] = {static_cast<char>(VERSION),
                                          static_cast<char>(type),
                                          static_cast<char>(id >> 8),
                                          static_cast<char>(id & 0xff),
                                          static_cast<char>(content_bytes >> 8),
                                          static_cast<char>(content_bytes & 0xff),
                                          0,
                                          0};
  to.append(header, sizeof header);
}

void put_length(std::string& to, size_t length) {
  if (length < 0x80) {
    to += static_cast<char>(length);
    return;
  }
  to += static_cast<char>(0x80 | (length >> 24));
  for (const int shift : {16, 8, 0}) to += static_cast<char>((length >> shift) & 0xff);
}

std::optional<size_t> take_length(std::string_view& text) {
  if (text.empty()) return std::nullopt;
  const auto byte = [&](size_t i) { return size_t{static_cast<unsigned char>(text[i])}; };
  size_t length = byte(0);
  const size_t bytes = length < 0x80 ? 1 : 4;
  if (text.size() < bytes) return std::nullopt;
  if (bytes == 4) length = ((length & 0x7f) << 24) | (byte(1) << 16) | (byte(2) << 8) | byte(3);
  text.remove_prefix(bytes);
  return length;
}

}  // namespace

void put_fcgi_record(std::string& to, FcgiType type, uint16_t id, std::string_view content) {
  do {
    const std::string_view piece = content.substr(0, FCGI_CONTENT_MAX);
    put_header(to, type, id, piece.size());
    to.append(piece);
    content.remove_prefix(piece.size());
  } while (!content.empty());
}

void put_fcgi_begin(std::string& to, uint16_t id, bool keep_connection) {
  const char body[8] = {0, RESPONDER, keep_connection ? KEEP_CONNECTION : char{0}, 0, 0, 0, 0, 0};
  put_fcgi_record(to, FcgiType::BEGIN_REQUEST, id, {body, sizeof body});
}

void put_fcgi_pair(std::string& to, std::string_view name, std::string_view value) {
  put_length(to, name.size());
  put_length(to, value.size());
  to.append(name).append(value);
}

void put_fcgi_params(std::string& to, uint16_t id, const MetaVariables& variables) {
  const size_t start = to.size();
  put_header(to, FcgiType::PARAMS, id, 0);
  for (size_t i = 0; i < variables.count(); ++i) {
    const auto [name, value] = variables.at(i);
    put_fcgi_pair(to, name, value);
  }
  const size_t bytes = to.size() - start - FCGI_HEADER_BYTES;
  if (bytes == 0) return;  // the empty record is the end already
  if (bytes <= FCGI_CONTENT_MAX) {
    to[start + 4] = static_cast<char>(bytes >> 8);
    to[start + 5] = static_cast<char>(bytes & 0xff);
  } else {  // more than a record holds
    const std::string text = to.substr(start + FCGI_HEADER_BYTES);
    to.resize(start);
    put_fcgi_record(to, FcgiType::PARAMS, id, text);
  }
  put_fcgi_record(to, FcgiType::PARAMS, id, {});
}

std::optional<FcgiPairs> parse_fcgi_pairs(std::string_view text) {
  FcgiPairs pairs;
  while (!text.empty()) {
    const auto name_bytes = take_length(text);
    const auto value_bytes = name_bytes ? take_length(text) : std::nullopt;
    if (!value_bytes || *name_bytes > text.size() || *value_bytes > text.size() - *name_bytes) return std::nullopt;
    pairs.emplace_back(text.substr(0, *name_bytes), text.substr(*name_bytes, *value_bytes));
    text.remove_prefix(*name_bytes + *value_bytes);
  }
  return pairs;
}

FcgiReader::State FcgiReader::next(std::string_view bytes, size_t& consumed, FcgiPiece& piece) {
  consumed = 0;
  if (bad_) return State::BAD;
  if (content_left_ == 0) {
    const size_t padding = std::min(padding_left_, bytes.size());
    padding_left_ -= padding;
    consumed = padding;
    while (header_bytes_ < FCGI_HEADER_BYTES && consumed < bytes.size()) {
      header_[header_bytes_++] = static_cast<unsigned char>(bytes[consumed++]);
    }
    if (header_bytes_ > 0 && header_[0] != VERSION) {
      bad_ = true;
      return State::BAD;
    }
    if (header_bytes_ < FCGI_HEADER_BYTES) return State::NEED_MORE;
    record_bytes_ = content_left_ = static_cast<size_t>(header_[4] << 8 | header_[5]);
    padding_left_ = header_[6];
  }
  if (content_left_ > 0 && consumed == bytes.size()) return State::NEED_MORE;
  const size_t size = std::min(content_left_, bytes.size() - consumed);
  piece = {.type = static_cast<FcgiType>(header_[1]),
           .id = static_cast<uint16_t>(header_[2] << 8 | header_[3]),
           .content = bytes.substr(consumed, size),
           .record_bytes = record_bytes_,
           .last = size == content_left_};
  content_left_ -= size;
  consumed += size;
  if (piece.last) header_bytes_ = 0;
  return State::PIECE;
}

}  // namespace penstock
