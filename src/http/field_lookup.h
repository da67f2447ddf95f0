// known_field_number: the lookup behind field_from_name(), inline for the parser. Private to src/http.
//
// A perfect hash over the last four bytes and the length finds the one candidate; comparing words settles
// it. The multiplier is searched for at compile time, so that a new row in headers.def needs nothing but itself.
#pragma once

#include "src/http/field.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace penstock {

inline constexpr unsigned NO_FIELD = 255;

inline constexpr std::array<std::string_view, KNOWN_FIELDS> FIELD_NAMES = {
#define X(name, text, plain) std::string_view(text),
#include "src/http/headers.def"
#undef X
};

namespace field_lookup {

inline constexpr size_t NAME_BYTES_MIN = 2;
inline constexpr size_t NAME_BYTES_MAX = 30;
inline constexpr unsigned SLOT_BITS = 8;

consteval bool names_are_well_formed() {
  for (const std::string_view name : FIELD_NAMES) {
    if (name.size() < NAME_BYTES_MIN || name.size() > NAME_BYTES_MAX) return false;
    for (const char c : name) {
      if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
    }
  }
  return true;
}
static_assert(names_are_well_formed());
static_assert(std::endian::native == std::endian::little, "tails are compared with words in memory order");

// Folding by OR 0x20 is exact on tokens: of the bytes that it maps to a letter, a digit or '-', only letters are token
// bytes besides the image itself.
template <typename Word>
inline constexpr Word FOLD = static_cast<Word>(0x2020202020202020ULL);

template <typename Word>
inline Word word_at(const char* text) {
  Word word;
  std::memcpy(&word, text, sizeof word);
  return word;
}

template <typename Word>
inline Word folded_word(const char* text) {
  return static_cast<Word>(word_at<Word>(text) | FOLD<Word>);
}

// The last four bytes in memory order; of shorter names the first two and the last.
inline uint32_t tail_of(const char* name, size_t size) {
  if (size >= 4) [[likely]]
    return folded_word<uint32_t>(name + size - 4);
  return folded_word<uint16_t>(name) | folded_word<uint8_t>(name + size - 1) * 0x10000U;
}

consteval uint32_t constant_tail_of(std::string_view name) {
  const size_t first = name.size() >= 4 ? name.size() - 4 : 0;
  uint32_t tail = 0;
  for (unsigned i = 0; i < 4 && first + i < name.size(); ++i) {
    tail |= static_cast<uint32_t>(static_cast<unsigned char>(name[first + i])) << (8 * i);
  }
  if (name.size() == 2) tail |= static_cast<uint32_t>(static_cast<unsigned char>(name[1])) << 16;
  return tail;
}

constexpr uint32_t slot_of(uint32_t tail, size_t size, uint32_t multiplier) {
  return ((tail + static_cast<uint32_t>(size) * 0x01000193U) * multiplier) >> (32 - SLOT_BITS);
}

consteval bool is_perfect(uint32_t multiplier) {
  std::array<bool, 1U << SLOT_BITS> taken{};
  for (const std::string_view name : FIELD_NAMES) {
    bool& slot = taken[slot_of(constant_tail_of(name), name.size(), multiplier)];
    if (slot) return false;
    slot = true;
  }
  return true;
}

consteval uint32_t find_multiplier() {
  uint32_t multiplier = 0x9e3779b1;
  while (!is_perfect(multiplier)) multiplier = multiplier * 1664525U + 1013904223U;
  return multiplier;
}
inline constexpr uint32_t MULTIPLIER = find_multiplier();

struct alignas(32) Slot {
  char name[NAME_BYTES_MAX] = {};
  uint8_t size = 0;  // 0: no field hashes here
  uint8_t number = NO_FIELD;
};
static_assert(sizeof(Slot) == 32);

consteval std::array<Slot, 1U << SLOT_BITS> make_slots() {
  std::array<Slot, 1U << SLOT_BITS> slots;
  for (size_t i = 0; i < FIELD_NAMES.size(); ++i) {
    Slot& slot = slots[slot_of(constant_tail_of(FIELD_NAMES[i]), FIELD_NAMES[i].size(), MULTIPLIER)];
    slot.size = static_cast<uint8_t>(FIELD_NAMES[i].size());
    slot.number = static_cast<uint8_t>(i);
    for (size_t k = 0; k < FIELD_NAMES[i].size(); ++k) slot.name[k] = FIELD_NAMES[i][k];
  }
  return slots;
}
inline constexpr std::array<Slot, 1U << SLOT_BITS> SLOTS = make_slots();

// Words that overlap at the end instead of a loop over the last bytes. `lower` has no bit to fold.
inline bool folded_equal(const char* text, const char* lower, size_t size) {
  if (size >= 8) {
    for (size_t i = 0; i + 8 < size; i += 8) {
      if (folded_word<uint64_t>(text + i) != word_at<uint64_t>(lower + i)) return false;
    }
    return folded_word<uint64_t>(text + size - 8) == word_at<uint64_t>(lower + size - 8);
  }
  if (size >= 4) {
    return folded_word<uint32_t>(text) == word_at<uint32_t>(lower) &&
           folded_word<uint32_t>(text + size - 4) == word_at<uint32_t>(lower + size - 4);
  }
  return folded_word<uint16_t>(text) == word_at<uint16_t>(lower) &&
         folded_word<uint8_t>(text + size - 1) == word_at<uint8_t>(lower + size - 1);
}

}  // namespace field_lookup

// The number of the Field of that name, or NO_FIELD. REQUIRES: `name` is a token. Reads nothing beyond it.
inline unsigned known_field_number(std::string_view name) {
  using namespace field_lookup;
  if (name.size() - NAME_BYTES_MIN > NAME_BYTES_MAX - NAME_BYTES_MIN) return NO_FIELD;
  const Slot& slot = SLOTS[slot_of(tail_of(name.data(), name.size()), name.size(), MULTIPLIER)];
  if (slot.size != name.size() || !folded_equal(name.data(), slot.name, name.size())) return NO_FIELD;
  return slot.number;
}

}  // namespace penstock
