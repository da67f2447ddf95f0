// Whatever the bytes: records come out the same however they are cut, none with more than it announced; pairs stay
// inside of their text, and what is written is read again.

#include "pool/runtimes/upstream/fcgi_record.h"
#include "src/base/assert.h"
#include "src/base/prng.h"

#include <algorithm>
#include <string>

namespace penstock {
namespace {

// The records of `text` as one line each; whatever is cut off at its end is not among them.
std::string read_all(std::string_view text, Prng* prng) {
  FcgiReader reader;
  std::string said;
  std::string content;
  size_t at = 0;
  while (at < text.size()) {
    const size_t left = text.size() - at;
    const std::string_view given =
        text.substr(at, prng == nullptr ? left : std::min<size_t>(left, 1 + prng->below(12)));
    size_t consumed = 0;
    FcgiPiece piece;
    const FcgiReader::State state = reader.next(given, consumed, piece);
    ASSERT(consumed <= given.size());
    at += consumed;
    if (state == FcgiReader::State::BAD) return said + "bad";
    if (state == FcgiReader::State::NEED_MORE) {
      ASSERT(consumed == given.size());
      continue;
    }
    content += piece.content;
    ASSERT(content.size() <= piece.record_bytes && piece.record_bytes <= FCGI_CONTENT_MAX);
    if (!piece.last) continue;
    ASSERT(content.size() == piece.record_bytes);
    said += std::to_string(static_cast<int>(piece.type)) + " " + std::to_string(piece.id) + " " + content + "\n";
    content.clear();
  }
  return said;
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Prng prng(data[0]);
  ASSERT(read_all(text, nullptr) == read_all(text, &prng));
  const auto pairs = parse_fcgi_pairs(text);
  if (!pairs) return 0;
  std::string again;
  for (const auto& [name, value] : *pairs) put_fcgi_pair(again, name, value);
  const auto same = parse_fcgi_pairs(again);
  ASSERT(same && *same == *pairs);
  return 0;
}
