// ScanPlain and ScanSse2: where an element of a request head ends. Private to RequestParser.
//
// Each function returns the first byte in [at, end) that is not of its class, or `end`. `begin` is
// where readable memory begins (begin <= at); nothing outside [begin, end) is read, so an input may end at a page that
// is not there. Both classes give the same answers: the differential fuzzer compares them.
#pragma once

#include "src/http/syntax.h"

#include <bit>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace penstock {

struct ScanPlain {
  static const char* token_end(const char*, const char* at, const char* end) { return scan<SYNTAX_TOKEN>(at, end); }
  static const char* path_end(const char*, const char* at, const char* end) { return scan<SYNTAX_PATH>(at, end); }
  static const char* query_end(const char*, const char* at, const char* end) { return scan<SYNTAX_QUERY>(at, end); }
  static const char* value_end(const char*, const char* at, const char* end) { return scan<SYNTAX_VALUE>(at, end); }

 private:
  template <uint8_t CLASS>
  static const char* scan(const char* at, const char* end) {
    while (at != end && is_syntax(*at, CLASS)) ++at;
    return at;
  }
};

#if defined(__SSE2__)

// SSE2 is part of x86-64, so no run-time choice is needed. The elements of a head are short: one or two
// vectors decide most of them, and wider ones gained nothing measurable on them.
struct ScanSse2 {
  static const char* token_end(const char* begin, const char* at, const char* end) {
    // The vector knows letters, digits and '-' only; the rare other token bytes are stepped over singly.
    while (true) {
      at = scan(begin, at, end, [](__m128i v) {
        const __m128i letter = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
        const __m128i digit = _mm_sub_epi8(v, _mm_set1_epi8('0'));
        const __m128i is_letter = at_most(letter, 25);
        const __m128i is_digit = at_most(digit, 9);
        const __m128i is_dash = _mm_cmpeq_epi8(v, _mm_set1_epi8('-'));
        return ~_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(is_letter, is_digit), is_dash)) & 0xffff;
      });
      if (at == end || !is_syntax(*at, SYNTAX_TOKEN)) return at;
      ++at;
    }
  }

  static const char* path_end(const char* begin, const char* at, const char* end) {
    return scan(begin, at, end, [](__m128i v) {
      const __m128i question = _mm_cmpeq_epi8(v, _mm_set1_epi8('?'));
      return _mm_movemask_epi8(_mm_or_si128(not_in_target(v), question));
    });
  }

  static const char* query_end(const char* begin, const char* at, const char* end) {
    return scan(begin, at, end, [](__m128i v) { return _mm_movemask_epi8(not_in_target(v)); });
  }

  static const char* value_end(const char* begin, const char* at, const char* end) {
    return scan(begin, at, end, [](__m128i v) {
      const __m128i control = at_most(v, 0x1f);
      const __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
      const __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
      return _mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, control), del));
    });
  }

 private:
  // Bytes that are <= limit, as unsigned.
  static __m128i at_most(__m128i v, char limit) { return _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(limit)), v); }

  static __m128i not_in_target(__m128i v) {
    const __m128i control_or_space = at_most(v, 0x20);
    const __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
    const __m128i hash = _mm_cmpeq_epi8(v, _mm_set1_epi8('#'));
    return _mm_or_si128(_mm_or_si128(control_or_space, del), hash);
  }

  static __m128i load(const char* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }

  // `stops` gives one bit for each byte of a vector at which the element ends. The last, partial
  // vector is read from end - 16, which is in bounds when 16 bytes came before, and shifted into place.
  template <typename Stops>
  static const char* scan(const char* begin, const char* at, const char* end, Stops stops) {
    for (; end - at >= 16; at += 16) {
      const auto mask = static_cast<uint32_t>(stops(load(at)));
      if (mask != 0) return at + std::countr_zero(mask);
    }
    if (at == end) return end;
    const auto rest = static_cast<size_t>(end - at);
    uint32_t mask;
    if (end - begin >= 16) {
      mask = static_cast<uint32_t>(stops(load(end - 16))) >> (16 - rest);
    } else {
      char padded[16] = {};
      for (size_t i = 0; i < rest; ++i) padded[i] = at[i];
      mask = static_cast<uint32_t>(stops(load(padded))) & ((1U << rest) - 1);
    }
    return mask != 0 ? at + std::countr_zero(mask) : end;
  }
};

using ScanFast = ScanSse2;
#else
using ScanFast = ScanPlain;
#endif

}  // namespace penstock
