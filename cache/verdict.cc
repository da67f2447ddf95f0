#include "cache/verdict.h"

#include "src/base/assert.h"

#include <array>

namespace penstock {
namespace {

struct Row {
  std::string_view code;
  std::string_view sentence;
  bool hit;
};

constexpr std::array<Row, VERDICT_COUNT> ROWS = {{
#define X(name, code, hit, sentence) {code, sentence, (hit) != 0},
#include "cache/verdict.def"
#undef X
}};

const Row& row_of(Verdict verdict) {
  const auto index = static_cast<size_t>(verdict);
  ASSERT(index < ROWS.size());
  return ROWS[index];
}

}  // namespace

std::string_view verdict_code(Verdict verdict) { return row_of(verdict).code; }
std::string_view verdict_sentence(Verdict verdict) { return row_of(verdict).sentence; }
bool verdict_is_hit(Verdict verdict) { return row_of(verdict).hit; }

}  // namespace penstock
