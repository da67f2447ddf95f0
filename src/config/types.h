// The types of settings: for each, the C++ value, the parser of its text, its canonical printer and
// the words an error or the reference page says of it. schema.def names one per key.
//
// A type is a struct of static functions:
//   Value                                 the C++ type of the settings' member
//   name()                                one or two words for the reference page ("size")
//   expects(range)                        ends the sentence "expected …"
//   parse(text, range) -> Parsed<Value>   `text` is the raw text after '='; on error what was expected
//   print(value)                          canonical text: parse(print(v)) == v, print(parse(t)) is stable
// All pure; they allocate. Not for the hot path.
#pragma once

#include "src/base/coding.h"
#include "src/base/time.h"
#include "src/config/error.h"
#include "src/config/text.h"
#include "src/config/values.h"

#include <algorithm>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// Bounds, inclusive: of a number its value (times: milliseconds), of text its bytes, of a list its items.
struct SettingRange {
  uint64_t min = 0;
  uint64_t max = 0;
};

template <class T>
using Parsed = std::expected<T, std::string>;

// --- numbers --------------------------------------------------------------------------------

struct ConfigBool {  // 0|1, also off|on, false|true, no|yes
  using Value = bool;
  static std::string name() { return "switch"; }
  static std::string expects(SettingRange range);
  static Parsed<bool> parse(std::string_view text, SettingRange range);
  static std::string print(bool value);
};

struct ConfigCount {
  using Value = uint32_t;
  static std::string name() { return "number"; }
  static std::string expects(SettingRange range);
  static Parsed<uint32_t> parse(std::string_view text, SettingRange range);
  static std::string print(uint32_t value);
};

struct ConfigPowerOfTwo : ConfigCount {
  static std::string name() { return "power of two"; }
  static std::string expects(SettingRange range);
  static Parsed<uint32_t> parse(std::string_view text, SettingRange range);
};

struct ConfigSize {  // bytes, with k, m, g (1024)
  using Value = uint64_t;
  static std::string name() { return "size"; }
  static std::string expects(SettingRange range);
  static Parsed<uint64_t> parse(std::string_view text, SettingRange range);
  static std::string print(uint64_t value);
};

struct ConfigTime {  // with ms, s, m, h; 0 needs no unit
  using Value = Duration;
  static std::string name() { return "time"; }
  static std::string expects(SettingRange range);
  static Parsed<Duration> parse(std::string_view text, SettingRange range);
  static std::string print(Duration value);
};

// --- text -----------------------------------------------------------------------------------

#define CONFIG_TEXT_TYPE(type, label)                                            \
  struct type {                                                                  \
    using Value = std::string;                                                   \
    static std::string name() { return label; }                                  \
    static std::string expects(SettingRange range);                              \
    static Parsed<std::string> parse(std::string_view text, SettingRange range); \
    static std::string print(const std::string& value) { return quote(value); }  \
  }
CONFIG_TEXT_TYPE(ConfigPath, "path");                  // absolute file path
CONFIG_TEXT_TYPE(ConfigUrlPath, "URL path");           // decoded path beginning with '/', no dot segments
CONFIG_TEXT_TYPE(ConfigName, "name");                  // of an instance: letters, digits, '_', '-'
CONFIG_TEXT_TYPE(ConfigUser, "user");                  // of the system: a user or group name, or auto
CONFIG_TEXT_TYPE(ConfigHeaderValue, "header value");   // what RFC 9110 section 5.5 allows, without obs-text
CONFIG_TEXT_TYPE(ConfigToken, "token");                // RFC 9110 section 5.6.2
CONFIG_TEXT_TYPE(ConfigMimeType, "MIME type");         // type/subtype
CONFIG_TEXT_TYPE(ConfigTarget, "redirect target");     // URI with $path, $query, $host, $$
CONFIG_TEXT_TYPE(ConfigErrorPage, "URL path or URL");  // a ConfigUrlPath, or an absolute http(s) URL
CONFIG_TEXT_TYPE(ConfigCommand, "text");               // free text of one line
#undef CONFIG_TEXT_TYPE

// --- enumerations ---------------------------------------------------------------------------

// "uring, epoll, dpdk": words separated for an "expected one of …".
std::string join_words(const std::vector<std::string_view>& words);

template <class E>
struct ConfigEnum {
  using Value = E;
  static std::string name() { return "choice"; }
  static std::string expects(SettingRange) {
    std::vector<std::string_view> words;
    for (const EnumWord<E>& entry : enum_words<E>()) words.push_back(entry.word);
    return "one of " + join_words(words);
  }
  static Parsed<E> parse(std::string_view text, SettingRange range) {
    for (const EnumWord<E>& entry : enum_words<E>()) {
      if (entry.word == text) return entry.value;
    }
    return std::unexpected(expects(range));
  }
  static std::string print(E value) { return std::string(to_text(value)); }
};

// --- lists ----------------------------------------------------------------------------------

// An item type of ConfigList: what() ends "expected a list of …"; parse_item takes unquoted text.
#define CONFIG_ITEM_TYPE(type, value)                         \
  struct type {                                               \
    using Value = value;                                      \
    static std::string what();                                \
    static Parsed<value> parse_item(const std::string& text); \
    static std::string print_item(const value& item);         \
  }
CONFIG_ITEM_TYPE(ConfigListenItem, ListenAddress);
CONFIG_ITEM_TYPE(ConfigAddressItem, AddressRange);        // clients: an address, ADDRESS/BITS, or unix
CONFIG_ITEM_TYPE(ConfigInterfaceItem, InterfaceAddress);  // "192.0.2.1/24", "2001:db8::1/64"
CONFIG_ITEM_TYPE(ConfigGatewayItem, InterfaceAddress);    // "192.0.2.254", "2001:db8::fe": all bits
CONFIG_ITEM_TYPE(ConfigHostItem, std::string);  // "example.org", "*.example.org", "*", "192.0.2.1", "[::1]"; lower case
CONFIG_ITEM_TYPE(ConfigFileNameItem, std::string);        // one path segment
CONFIG_ITEM_TYPE(ConfigPathItem, std::string);            // absolute
CONFIG_ITEM_TYPE(ConfigPatternItem, std::string);         // of paths: absolute or not, with *, ? and […]
CONFIG_ITEM_TYPE(ConfigSha256Item, std::string);          // 64 hexadecimal digits; lower case
CONFIG_ITEM_TYPE(ConfigUserItem, std::string);            // of the system: a user or group name, or a number
CONFIG_ITEM_TYPE(ConfigUrlItem, std::string);             // a path with its query, or the whole of it
CONFIG_ITEM_TYPE(ConfigMethodItem, std::string);          // token, case kept
CONFIG_ITEM_TYPE(ConfigFieldNameItem, std::string);       // header name; lower case
CONFIG_ITEM_TYPE(ConfigMimeGlobItem, std::string);        // "text/*", "application/json"; lower case
CONFIG_ITEM_TYPE(ConfigLogFieldItem, std::string);        // "sc-status", "cs(Referer)"
CONFIG_ITEM_TYPE(ConfigLogTermItem, std::string);         // "status>=500": see log_term.h
CONFIG_ITEM_TYPE(ConfigCodingItem, Coding);               // gzip, br, zstd
CONFIG_ITEM_TYPE(ConfigPoolItem, std::string);            // the name of one
CONFIG_ITEM_TYPE(ConfigTimeOfDayItem, uint32_t);          // "04:30": minutes since midnight
CONFIG_ITEM_TYPE(ConfigTlsGroupItem, std::string);        // of the key exchange: "X25519", "?X25519MLKEM768"
CONFIG_ITEM_TYPE(ConfigTlsCompressionItem, std::string);  // "zlib", "?brotli", "zstd"
#undef CONFIG_ITEM_TYPE

std::string expects_list(const std::string& what, SettingRange range);

// Items in the order written, each once.
template <class Item>
struct ConfigList {
  using Value = std::vector<typename Item::Value>;
  static std::string name() { return "list"; }
  static std::string expects(SettingRange range) { return expects_list(Item::what(), range); }
  static Parsed<Value> parse(std::string_view text, SettingRange range);
  static std::string print(const Value& value);
};

struct ConfigCpuList {  // "0-3 8": ascending, each once
  using Value = std::vector<uint32_t>;
  static std::string name() { return "CPU list"; }
  static std::string expects(SettingRange range);
  static Parsed<Value> parse(std::string_view text, SettingRange range);
  static std::string print(const Value& value);
};

// --- inheritance ----------------------------------------------------------------------------

// The value `inherit` (the default) means: what the level above says.
template <class Type>
struct ConfigInherit {
  using Value = std::optional<typename Type::Value>;
  static std::string name() { return Type::name(); }
  static std::string expects(SettingRange range) { return Type::expects(range) + ", or inherit"; }
  static Parsed<Value> parse(std::string_view text, SettingRange range) {
    if (text == "inherit") return Value();
    auto value = Type::parse(text, range);
    if (!value) return std::unexpected(value.error() + ", or inherit");
    return Value(std::move(*value));
  }
  static std::string print(const Value& value) {
    if (!value) return "inherit";
    const std::string text = Type::print(*value);
    return text == "inherit" ? "\"inherit\"" : text;  // a text of that very word stays a text
  }
};

// --- names of maps --------------------------------------------------------------------------

// The last part of a map's key. what() ends "expected …"; check returns whether `name` may stand there.
struct ConfigHeaderName {
  static std::string what();
  static bool check(std::string_view name);
};
struct ConfigStatusName {  // "404" or "404_3"
  static std::string what();
  static bool check(std::string_view name);
};
struct ConfigExtensionName {  // lower case, without the dot
  static std::string what();
  static bool check(std::string_view name);
};
struct ConfigVariableName {  // of the environment
  static std::string what();
  static bool check(std::string_view name);
};

// --- templates' bodies ----------------------------------------------------------------------

template <class Item>
Parsed<typename ConfigList<Item>::Value> ConfigList<Item>::parse(std::string_view text, SettingRange range) {
  const auto words = split_list(text);
  if (!words) return std::unexpected(words.error());
  if (words->size() < range.min || words->size() > range.max) return std::unexpected(expects(range));
  Value out;
  std::vector<std::string> printed;
  for (const std::string& word : *words) {
    auto item = Item::parse_item(word);
    if (!item) return std::unexpected(expects(range) + "; " + quote_for_message(word) + " is none");
    printed.push_back(Item::print_item(*item));
    out.push_back(std::move(*item));
  }
  std::sort(printed.begin(), printed.end());
  const auto twice = std::adjacent_find(printed.begin(), printed.end());
  if (twice != printed.end()) return std::unexpected("each item once; " + quote_for_message(*twice) + " stands twice");
  return out;
}

template <class Item>
std::string ConfigList<Item>::print(const Value& value) {
  std::string out;
  for (const auto& item : value) {
    if (!out.empty()) out += ' ';
    out += quote_item(Item::print_item(item));
  }
  return out.empty() ? "\"\"" : out;
}

}  // namespace penstock
