// Whatever the raw path and the rules: what canonicalise() accepts has the canonical form, stays within its room, and
// comes out the same when it is escaped and sent again.

#include "src/base/assert.h"
#include "src/http/target.h"

#include <string>
#include <vector>

namespace penstock {
namespace {

// A second reading of UTF-8, by value instead of by ranges.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t size = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (size == 0 || text.size() - i < size) return false;
    uint32_t value = size == 1 ? lead : lead & (0x7fU >> size);
    for (size_t k = 1; k < size; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if (next >> 6 != 2) return false;
      value = value << 6 | (next & 0x3fU);
    }
    constexpr uint32_t LEAST[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < LEAST[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return false;
    i += size;
  }
  return true;
}

void check_form(std::string_view path, const DecodeRules& rules) {
  ASSERT(path.starts_with('/') && is_utf8(path));
  size_t segments = 0;
  for (size_t at = 1; at < path.size();) {
    size_t end = path.find('/', at);
    if (end == std::string_view::npos) end = path.size();
    const std::string_view segment = path.substr(at, end - at);
    ASSERT(!segment.empty() && segment != "." && segment != "..");
    ASSERT(rules.segment_bytes == 0 || segment.size() <= rules.segment_bytes);
    ++segments;
    at = end + 1;
  }
  ASSERT(rules.segments == 0 || segments <= rules.segments);
  for (size_t i = 0; i < path.size(); ++i) {
    const auto byte = static_cast<unsigned char>(path[i]);
    ASSERT(byte != 0 && byte != '\\');
    const bool c1 = byte == 0xc2 && static_cast<unsigned char>(path[i + 1]) < 0xa0;
    ASSERT(rules.restricted_chars || (byte >= 0x20 && byte != 0x7f && !c1));
  }
}

CanonicalPath run(std::string_view raw, const DecodeRules& rules, std::vector<char>& out) {
  out.assign(canonical_bytes_max(raw.size(), rules), '?');
  return canonicalise(raw, rules, out);
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 1) return 0;
  const unsigned bits = data[0];
  const DecodeRules rules{.non_utf8 = (bits & 1) != 0,
                          .percent_u = (bits & 2) != 0,
                          .restricted_chars = (bits & 4) != 0,
                          .double_escape = (bits & 8) != 0,
                          .segment_bytes = (bits & 16) != 0 ? 8U : 0U,
                          .segments = (bits & 32) != 0 ? 4U : 0U,
                          .legacy = (bits & 64) != 0 ? &ISO_8859_1 : &WINDOWS_1252};
  const std::string_view raw(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::vector<char> first;
  const CanonicalPath result = run(raw, rules, first);
  const bool within_limits = result.reason != Reason::SEGMENT_LENGTH && result.reason != Reason::SEGMENT_COUNT;
  if (is_canonical_ascii(raw) && within_limits) ASSERT(result.reason == Reason::NONE && result.path == raw);
  if (result.reason != Reason::NONE) {
    ASSERT(result.path.empty() && reason_status(result.reason) / 100 == 4 && result.reason != Reason::URL_LENGTH);
    return 0;
  }
  check_form(result.path, rules);

  std::vector<char> room(result.path.size() * 3);
  const std::string_view escaped = escape_path(result.path, room);
  ASSERT(!escaped.empty());
  std::vector<char> second;
  const CanonicalPath again = run(escaped, rules, second);
  ASSERT(again.reason == Reason::NONE && again.path == result.path);
  if (result.path.find('%') == std::string_view::npos && !rules.restricted_chars) {
    const CanonicalPath direct = run(result.path, rules, second);
    ASSERT(direct.reason == Reason::NONE && direct.path == result.path);
  }
  return 0;
}
