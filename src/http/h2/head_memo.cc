#include "src/http/h2/head_memo.h"

#include "src/http/h2/fields.h"

namespace penstock {
namespace {

constexpr size_t FRAME_TYPE_AT = 3;
constexpr size_t FRAME_FLAGS_AT = 4;
constexpr std::string_view STAND_IN = "\x88";  // index 8 of the static table
constexpr uint8_t BYTE = 0xff;

// RFC 7541 section 5.1: a number behind the bits that are not in `mask`. False: it breaks off, or is beyond all sizes.
bool take_number(std::string_view& rest, uint8_t mask, size_t& number) {
  if (rest.empty()) return false;
  number = static_cast<uint8_t>(rest.front()) & mask;
  rest.remove_prefix(1);
  if (number < mask) return true;
  for (unsigned shift = 0; shift < 28 && !rest.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(rest.front());
    rest.remove_prefix(1);
    number += size_t{byte & 0x7fU} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

void put_number(std::string& out, uint8_t mask, size_t number) {
  if (number < mask) {
    out += static_cast<char>(number);
    return;
  }
  out += static_cast<char>(mask);
  for (number -= mask; number >= 0x80; number >>= 7) out += static_cast<char>(0x80 | (number & 0x7f));
  out += static_cast<char>(number);
}

bool skip_text(std::string_view& rest) {
  size_t size = 0;
  if (!take_number(rest, 0x7f, size) || size > rest.size()) return false;
  rest.remove_prefix(size);
  return true;
}

// Section 6: whether a block is made of indices and of literals that are not put into the table, and of nothing else.
bool leaves_table_alone(std::string_view block) {
  size_t number = 0;
  while (!block.empty()) {
    const auto first = static_cast<uint8_t>(block.front());
    if ((first & 0x80) != 0) {
      if (!take_number(block, 0x7f, number)) return false;
      continue;
    }
    if ((first & 0xe0) != 0) return false;  // a literal for the table, or another size of it
    if (!take_number(block, 0x0f, number)) return false;
    if (number == 0 && !skip_text(block)) return false;
    if (!skip_text(block)) return false;
  }
  return true;
}

}  // namespace

nghttp2_nv H2HeadMemo::stand_in() {
  static uint8_t name[] = ":status";
  static uint8_t value[] = "200";
  return {name, value, sizeof name - 1, sizeof value - 1, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

void H2HeadMemo::learn(const H2AnswerHead& head, std::string_view frame) {
  const bool is_whole = frame.size() > H2_FRAME_HEAD_BYTES && frame[FRAME_TYPE_AT] == NGHTTP2_HEADERS &&
                        (frame[FRAME_FLAGS_AT] & NGHTTP2_FLAG_END_HEADERS) != 0;
  serial_ = 0;
  if (!is_whole || !leaves_table_alone(frame.substr(H2_FRAME_HEAD_BYTES))) return;
  size_t plain_bytes = 0;
  for (const nghttp2_nv& field : head.fields) plain_bytes += field.namelen + field.valuelen + 9;
  if (plain_bytes > BLOCK_BYTES_MAX) return;
  block_.assign(frame.substr(H2_FRAME_HEAD_BYTES));
  serial_ = head.serial;
}

std::string_view H2HeadMemo::replace(const H2AnswerHead& head, std::string_view frame) {
  frame_.assign(frame.substr(0, H2_FRAME_HEAD_BYTES));
  std::string_view payload = frame.substr(H2_FRAME_HEAD_BYTES);
  if (payload == STAND_IN && knows(head)) {
    frame_ += block_;
  } else {
    serial_ = 0;
    payload.remove_suffix(STAND_IN.size());  // what is left are sizes of the table
    frame_ += payload;
    for (const nghttp2_nv& field : head.fields) {
      frame_ += '\0';  // section 6.2.2
      put_number(frame_, 0x7f, field.namelen);
      frame_ += h2_text(field.name, field.namelen);
      put_number(frame_, 0x7f, field.valuelen);
      frame_ += h2_text(field.value, field.valuelen);
    }
  }
  const size_t size = frame_.size() - H2_FRAME_HEAD_BYTES;
  for (size_t i = 0; i < FRAME_TYPE_AT; ++i) frame_[i] = static_cast<char>(size >> (8 * (2 - i)) & BYTE);
  return frame_;
}

}  // namespace penstock
