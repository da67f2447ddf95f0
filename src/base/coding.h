// Coding: the content codings that a stored representation can have (RFC 9110 section 8.4.1), and sets of them.
//
// Here on the ground floor because the parser, the cache, the files and the log all speak of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

enum class Coding : uint8_t { IDENTITY = 0, GZIP = 1, BR = 2, ZSTD = 3 };
inline constexpr size_t CODING_COUNT = 4;

// A set of codings besides identity: OR of these; all of them fit an index below ACCEPT_MASKS.
inline constexpr uint8_t ACCEPT_GZIP = 1;
inline constexpr uint8_t ACCEPT_BR = 2;
inline constexpr uint8_t ACCEPT_ZSTD = 4;
inline constexpr size_t ACCEPT_MASKS = 8;

// ACCEPT_GZIP, ...; 0 for IDENTITY.
constexpr uint8_t coding_bit(Coding coding) {
  return coding == Coding::IDENTITY ? uint8_t{0} : static_cast<uint8_t>(1U << (static_cast<unsigned>(coding) - 1));
}

// What the name of a precompressed file ends in; "" for IDENTITY.
constexpr std::string_view coding_suffix(Coding coding) {
  constexpr std::string_view SUFFIXES[CODING_COUNT] = {"", ".gz", ".br", ".zst"};
  return SUFFIXES[static_cast<size_t>(coding)];
}

}  // namespace penstock
