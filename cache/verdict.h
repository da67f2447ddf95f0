// Verdict: why the cache did or did not answer a request; exactly one per request.
//
// The list lives in verdict.def. The table sets the ones it can know; the exchange sets the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

enum class Verdict : uint8_t {
#define X(name, code, hit, sentence) name,
#include "cache/verdict.def"
#undef X
};

inline constexpr size_t VERDICT_COUNT = 0
#define X(name, code, hit, sentence) +1
#include "cache/verdict.def"
#undef X
    ;

// The short stable name: the log field. Never empty.
[[nodiscard]] std::string_view verdict_code(Verdict verdict);
// The reason as a sentence without a full stop: `penstock cache why`.
[[nodiscard]] std::string_view verdict_sentence(Verdict verdict);
// Whether the answer came from an entry of the table.
[[nodiscard]] bool verdict_is_hit(Verdict verdict);

}  // namespace penstock
