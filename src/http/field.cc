// A perfect hash over length, first, middle and last byte of the name finds the one candidate; one
// comparison settles it. The multiplier is searched for at compile time, so that a new row in
// headers.def needs nothing but itself.

#include "src/http/field.h"

#include <array>
#include <cstring>

namespace penstock {
namespace {

constexpr std::array<std::string_view, KNOWN_FIELDS> NAMES = {
#define X(name, text, plain) std::string_view(text),
#include "src/http/headers.def"
#undef X
};

constexpr size_t NAME_BYTES_MAX = 32;
constexpr size_t NAME_BYTES_MIN = 2;
constexpr unsigned SLOT_BITS = 8;

consteval bool names_are_well_formed() {
  for (const std::string_view name : NAMES) {
    if (name.size() < NAME_BYTES_MIN || name.size() > NAME_BYTES_MAX) return false;
    for (const char c : name) {
      if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
    }
  }
  return true;
}
static_assert(names_are_well_formed());

// Folding by OR 0x20 is exact on tokens: of the bytes that it maps to a letter, a digit or '-', only
// letters are token bytes besides the image itself.
constexpr uint32_t folded(char c) { return static_cast<unsigned char>(c) | 0x20U; }

constexpr uint32_t slot_of(std::string_view name, uint32_t multiplier) {
  const uint32_t mix = static_cast<uint32_t>(name.size()) | folded(name[0]) << 8 | folded(name[name.size() / 2]) << 16 |
                       folded(name[name.size() - 1]) << 24;
  return (mix * multiplier) >> (32 - SLOT_BITS);
}

consteval bool is_perfect(uint32_t multiplier) {
  std::array<bool, 1U << SLOT_BITS> taken{};
  for (const std::string_view name : NAMES) {
    bool& slot = taken[slot_of(name, multiplier)];
    if (slot) return false;
    slot = true;
  }
  return true;
}

consteval uint32_t find_multiplier() {
  uint32_t multiplier = 0x9e3779b1;
  while (!is_perfect(multiplier)) multiplier = multiplier * 1664525 + 1013904222 + 1;
  return multiplier | 0;
}
constexpr uint32_t MULTIPLIER = find_multiplier();

struct Slot {
  uint8_t size = 0;  // 0: no field hashes here
  Field field{};
  char name[NAME_BYTES_MAX] = {};
};

consteval std::array<Slot, 1U << SLOT_BITS> make_slots() {
  std::array<Slot, 1U << SLOT_BITS> slots;
  for (size_t i = 0; i < NAMES.size(); ++i) {
    Slot& slot = slots[slot_of(NAMES[i], MULTIPLIER)];
    slot.size = static_cast<uint8_t>(NAMES[i].size());
    slot.field = static_cast<Field>(i);
    for (size_t k = 0; k < NAMES[i].size(); ++k) slot.name[k] = NAMES[i][k];
  }
  return slots;
}
constexpr std::array<Slot, 1U << SLOT_BITS> SLOTS = make_slots();

template <typename Word>
bool folded_word_differs(const char* text, const char* lower) {
  Word a;
  Word b;
  std::memcpy(&a, text, sizeof a);
  std::memcpy(&b, lower, sizeof b);
  constexpr Word FOLD = static_cast<Word>(0x2020202020202020ULL);
  return static_cast<Word>(a | FOLD) != b;
}

// Words that overlap at the end instead of a loop over the last bytes.
bool folded_equal(const char* text, const char* lower, size_t size) {
  if (size >= 8) {
    for (size_t i = 0; i + 8 < size; i += 8) {
      if (folded_word_differs<uint64_t>(text + i, lower + i)) return false;
    }
    return !folded_word_differs<uint64_t>(text + size - 8, lower + size - 8);
  }
  if (size >= 4) {
    return !folded_word_differs<uint32_t>(text, lower) &&
           !folded_word_differs<uint32_t>(text + size - 4, lower + size - 4);
  }
  return !folded_word_differs<uint16_t>(text, lower) &&
         !folded_word_differs<uint16_t>(text + size - 2, lower + size - 2);
}

}  // namespace

std::optional<Field> field_from_name(std::string_view name) {
  if (name.size() < NAME_BYTES_MIN || name.size() > NAME_BYTES_MAX) return std::nullopt;
  const Slot& slot = SLOTS[slot_of(name, MULTIPLIER)];
  if (slot.size != name.size() || !folded_equal(name.data(), slot.name, name.size())) return std::nullopt;
  return slot.field;
}

std::string_view field_name(Field field) { return NAMES[static_cast<size_t>(field)]; }

}  // namespace penstock
