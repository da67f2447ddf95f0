// Whatever the bytes: the CGI response is the same however they are cut, its head is one that ends once, and no more
// of a body comes out than went in.

#include "pool/runtimes/upstream/response_reader.h"
#include "src/base/assert.h"
#include "src/base/prng.h"

#include <algorithm>
#include <string>

namespace penstock {
namespace {

struct Read {
  std::string said;
  std::string end;
  size_t used = 0;
  bool operator==(const Read&) const = default;
};

Read read_all(std::string_view text, ResponseReader reader, Prng* prng) {
  Read read;
  while (!reader.ended() && read.used < text.size()) {
    const size_t left = text.size() - read.used;
    const size_t given = prng == nullptr ? left : std::min<size_t>(left, 1 + prng->below(12));
    size_t at = 0;  // of what was given
    while (at < given && !reader.ended()) {
      size_t consumed = 0;
      std::string_view piece;
      const ResponseReader::State state = reader.next(text.substr(read.used + at, given - at), consumed, piece);
      at += consumed;
      ASSERT(at <= given);
      if (state == ResponseReader::State::BAD) {
        read.end = "bad";
        read.used = 0;  // where it is seen depends on the cut
        return read;
      }
      ASSERT(state != ResponseReader::State::NEED_MORE || at == given);
      if (state == ResponseReader::State::PIECE) read.said += piece;
    }
    read.used += at;
  }
  if (reader.ended()) {
    read.end = reader.keeps_connection() ? "kept" : "ended";
  } else {
    read.end = reader.close() ? "closed" : reader.error();
  }
  return read;
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto grammar = (data[0] & 1) != 0 ? ResponseReader::Grammar::HTTP : ResponseReader::Grammar::CGI;
  const ResponseReader reader(grammar, (data[0] & 2) != 0);
  Prng prng(data[0]);
  const Read whole = read_all(text, reader, nullptr);
  const Read cut = read_all(text, reader, &prng);
  ASSERT(whole == cut);
  ASSERT(whole.said.size() <= 2 * text.size() + 16);  // a line may get a CR, and the first one "Status: "
  return 0;
}
