// Characters and quoting of config text. Pure; used by the parser and the types of settings.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

constexpr bool is_blank(char c) { return c == ' ' || c == '\t'; }
// Letters and digits of ASCII.
constexpr bool is_alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
// tchar of RFC 9110 section 5.6.2.
constexpr bool is_token_char(char c) {
  return is_alnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

// token of RFC 9110 section 5.6.2: at least one tchar.
bool is_token_text(std::string_view text);

// UTF-8 (no overlong forms, no surrogates) without control characters: U+0000-1F, U+007F-9F. Tabs as `tabs` says.
bool is_clean_text(std::string_view text, bool tabs);

// Where the value that begins `text` ends: before a comment ('#' at its start or after a blank), outside quotes.
// A quote opens at the start of an item and must close. On error: "a closing quote".
std::expected<size_t, std::string> find_value_end(std::string_view text);

// The text of a value that may be quoted: "…" with \" and \\, or bare. Bare text holds no '"'.
std::expected<std::string, std::string> unquote(std::string_view raw);
// Quotes where the file's grammar needs it, else `text` as it is. unquote(quote(t)) == t.
std::string quote(std::string_view text);

// Items separated by blanks or commas; each may be quoted. A lone "" is the empty list.
std::expected<std::vector<std::string>, std::string> split_list(std::string_view raw);
// `quote` for one item of a list.
std::string quote_item(std::string_view item);

}  // namespace penstock
