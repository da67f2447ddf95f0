// Fuzzed by src/config/parse_fuzz.cc
#include "src/config/text.h"

#include "src/base/bytes.h"

#include <algorithm>
#include <cstdint>

namespace penstock {
namespace {

using TextOr = std::expected<std::string, std::string>;

constexpr bool is_separator(char c) { return is_blank(c) || c == ','; }

// The length of the UTF-8 sequence at `text[i]` and its code point; length 0 if it is none.
struct CodePoint {
  size_t length = 0;
  uint32_t value = 0;
};

CodePoint decode_at(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[i + k]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - i < length) return {};
  uint32_t value = lead & (0x7fU >> length);
  for (size_t k = 1; k < length; ++k) {
    if ((byte(k) & 0xc0) != 0x80) return {};
    value = (value << 6) | (byte(k) & 0x3fU);
  }
  constexpr uint32_t FIRST[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < FIRST[length] || value > 0x10ffff || surrogate) return {};
  return {length, value};
}

// Reads the quoted string at `text[at]` (a quote) and moves `at` past its closing quote.
TextOr read_quoted(std::string_view text, size_t& at) {
  std::string out;
  for (++at; at < text.size(); ++at) {
    if (text[at] == '"') {
      ++at;
      return out;
    }
    if (text[at] != '\\') {
      out += text[at];
      continue;
    }
    ++at;
    if (at == text.size()) break;
    if (text[at] != '"' && text[at] != '\\') return std::unexpected(R"(\" or \\ after a backslash within quotes)");
    out += text[at];
  }
  return std::unexpected("a closing quote");
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

bool is_token_text(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

bool is_clean_text(std::string_view text, bool tabs) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_at(text, i);
    if (point.length == 0) return false;
    const bool control = point.value < 0x20 || (point.value >= 0x7f && point.value <= 0x9f);
    if (control && !(tabs && point.value == '\t')) return false;
    i += point.length;
  }
  return true;
}

std::expected<size_t, std::string> find_value_end(std::string_view text) {
  bool item_start = true;
  bool after_blank = true;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '#' && after_blank) return at;
    if (c == '"' && item_start) {
      if (const TextOr content = read_quoted(text, at); !content) return std::unexpected(content.error());
      item_start = after_blank = false;
      continue;
    }
    item_start = is_separator(c);
    after_blank = is_blank(c);
    ++at;
  }
  return text.size();
}

TextOr unquote(std::string_view raw) {
  if (raw.starts_with('"')) {
    size_t at = 0;
    TextOr text = read_quoted(raw, at);
    if (text && at != raw.size()) return std::unexpected("nothing after the closing quote");
    return text;
  }
  if (raw.find('"') != std::string_view::npos) {
    return std::unexpected(R"(quotes around the whole value, and \" for a quote inside)");
  }
  return std::string(raw);
}

std::string quote(std::string_view text) {
  const bool edges = text.empty() || is_blank(text.front()) || is_blank(text.back()) || text.front() == '#';
  bool inside = text.find('"') != std::string_view::npos;
  for (size_t i = 1; i < text.size() && !inside; ++i) inside = text[i] == '#' && is_blank(text[i - 1]);
  return edges || inside ? quoted(text) : std::string(text);
}

std::expected<std::vector<std::string>, std::string> split_list(std::string_view raw) {
  std::vector<std::string> items;
  if (raw == "\"\"") return items;
  for (size_t at = 0; at < raw.size();) {
    if (is_separator(raw[at])) {
      ++at;
    } else if (raw[at] == '"') {
      TextOr item = read_quoted(raw, at);
      if (!item) return std::unexpected(item.error());
      if (at < raw.size() && !is_separator(raw[at])) return std::unexpected("a blank or a comma after a closing quote");
      items.push_back(std::move(*item));
    } else {
      size_t end = at;
      while (end < raw.size() && !is_separator(raw[end])) ++end;
      const std::string_view item = raw.substr(at, end - at);
      if (item.find('"') != std::string_view::npos) {
        return std::unexpected(R"(quotes around a whole item, and \" for a quote inside)");
      }
      items.emplace_back(item);
      at = end;
    }
  }
  return items;
}

std::string quote_item(std::string_view item) {
  const bool plain = !item.empty() && item.front() != '#' && item.find_first_of(" \t,\"") == std::string_view::npos;
  return plain ? std::string(item) : quoted(item);
}

}  // namespace penstock
