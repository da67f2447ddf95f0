// The records of FastCGI 1.0 (the specification's section numbers): written, and read as they come.
//
// Pure. A record is a header of eight bytes, up to 65,535 bytes of content, and padding. FcgiReader gives out content
// in the pieces in which it comes and keeps none of it; what a record is about, and whether it may come now, is for who
// reads.
#pragma once

#include "pool/runtimes/gateway/meta_variables.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

enum class FcgiType : uint8_t {
  BEGIN_REQUEST = 1,
  ABORT_REQUEST = 2,
  END_REQUEST = 3,
  PARAMS = 4,
  STDIN = 5,
  STDOUT = 6,
  STDERR = 7,
  DATA = 8,
  GET_VALUES = 9,
  GET_VALUES_RESULT = 10,
  UNKNOWN_TYPE = 11,
};

inline constexpr size_t FCGI_CONTENT_MAX = 65'535;
inline constexpr size_t FCGI_HEADER_BYTES = 8;

// Each appends to `to`. Contents longer than a record become several.
void put_fcgi_record(std::string& to, FcgiType type, uint16_t id, std::string_view content);
void put_fcgi_begin(std::string& to, uint16_t id, bool keep_connection);  // as a responder
// All of the PARAMS stream, with its end.
void put_fcgi_params(std::string& to, uint16_t id, const MetaVariables& variables);
void put_fcgi_pair(std::string& to, std::string_view name, std::string_view value);  // section 3.4, without a record

// Section 3.4; nothing where the text is cut off in a pair.
using FcgiPairs = std::vector<std::pair<std::string_view, std::string_view>>;
[[nodiscard]] std::optional<FcgiPairs> parse_fcgi_pairs(std::string_view text);

struct FcgiPiece {
  FcgiType type{};
  uint16_t id = 0;
  std::string_view content;  // of the bytes that were given
  size_t record_bytes = 0;   // of content in the whole record
  bool last = false;         // of its record
};

class FcgiReader {
 public:
  enum class State : uint8_t { NEED_MORE, PIECE, BAD };  // BAD: another version; for good
  // The next piece in `bytes`, of which `consumed` were used: all of them for NEED_MORE. A record without content is
  // one empty piece.
  [[nodiscard]] State next(std::string_view bytes, size_t& consumed, FcgiPiece& piece);

 private:
  unsigned char header_[FCGI_HEADER_BYTES] = {};
  size_t header_bytes_ = 0;
  size_t record_bytes_ = 0;
  size_t content_left_ = 0;
  size_t padding_left_ = 0;
  bool bad_ = false;
};

}  // namespace penstock
