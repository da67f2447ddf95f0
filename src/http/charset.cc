// The single-byte character sets that decode.legacy_charset can name (Unicode's own mapping tables,
// 8859-1.TXT and CP1252.TXT).

#include "src/http/target.h"

namespace penstock {
namespace {

consteval LegacyCharset make_iso_8859_1() {
  LegacyCharset table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<char16_t>(0x80 + i);
  return table;
}

consteval LegacyCharset make_windows_1252() {
  LegacyCharset table = make_iso_8859_1();
  constexpr char16_t UPPER_CONTROLS[32] = {0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                           0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017d, 0,
                                           0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                           0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};
  for (size_t i = 0; i < 32; ++i) table[i] = UPPER_CONTROLS[i];
  return table;
}

}  // namespace

constinit const LegacyCharset ISO_8859_1 = make_iso_8859_1();
constinit const LegacyCharset WINDOWS_1252 = make_windows_1252();

}  // namespace penstock
