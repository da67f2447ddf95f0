// Fuzzed by src/config/parse_fuzz.cc
// Types whose value is one text, and the names of map entries.
#include "src/base/bytes.h"
#include "src/config/schema.h"
#include "src/config/types.h"

#include <algorithm>
#include <fmt/format.h>

namespace penstock {
namespace {

using Text = Parsed<std::string>;

// Unquotes, checks the length, then `allowed`. Empty text is for the range alone to judge.
template <class Allowed>
Text parse_text_value(std::string_view raw, SettingRange range, const std::string& expected, Allowed allowed) {
  Text text = unquote(raw);
  if (!text) return text;
  if (text->size() < range.min || text->size() > range.max) return std::unexpected(expected);
  if (!text->empty() && !allowed(std::string_view(*text))) return std::unexpected(expected);
  return text;
}

// ", at most 64 bytes" and whether nothing may stand there.
std::string bounds(SettingRange range) {
  return fmt::format("{} of at most {} bytes", range.min == 0 ? ", or \"\"," : "", range.max);
}

bool is_mime_type(std::string_view text) {
  const size_t slash = text.find('/');
  return slash != std::string_view::npos && is_token_text(text.substr(0, slash)) &&
         is_token_text(text.substr(slash + 1)) && text.find('*') == std::string_view::npos;
}

bool has_escape(std::string_view text) {
  for (size_t i = 0; i + 2 < text.size(); ++i) {
    if (text[i] == '%' && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) return true;
  }
  return false;
}

// The form in which paths reach the router: decoded, one slash between segments, no dot segments.
bool is_url_path(std::string_view text) {
  if (!text.starts_with('/') || text.find_first_of("?#\\") != std::string_view::npos || has_escape(text)) return false;
  size_t start = 1;
  while (start < text.size()) {
    const size_t end = std::min(text.find('/', start), text.size());
    const std::string_view segment = text.substr(start, end - start);
    if (segment.empty() || segment == "." || segment == "..") return false;
    start = end + 1;
  }
  return true;
}

// The bytes of RFC 3986 that may stand in a reference.
bool is_reference_text(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return c > 0x20 && c < 0x7f && std::string_view("\"<>\\^`{|}").find(c) == std::string_view::npos;
  });
}

// An absolute URL that names its host; a user before it would make another host look like one's own.
bool is_absolute_url(std::string_view text) {
  const size_t scheme = text.starts_with("http://") ? 7 : text.starts_with("https://") ? 8 : 0;
  if (scheme == 0 || !is_reference_text(text)) return false;
  const std::string_view authority = text.substr(scheme, text.find_first_of("/?#", scheme) - scheme);
  return !authority.empty() && authority.front() != ':' && authority.find('@') == std::string_view::npos;
}

// And only the variables of the handler.
bool is_target_text(std::string_view text) {
  if (!is_reference_text(text)) return false;
  for (size_t at = text.find('$'); at != std::string_view::npos; at = text.find('$', at)) {
    const std::string_view rest = text.substr(at + 1);
    size_t length = 0;
    for (const std::string_view name : {"path", "query", "host", "$"}) {
      if (rest.starts_with(name)) length = name.size();
    }
    if (length == 0) return false;
    at += 1 + length;
  }
  return true;
}

// A target on this host must not become "//host" when $path (which begins with '/') is put in.
bool is_target(std::string_view text) {
  const bool here = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/$path");
  return (here || text.starts_with("http://") || text.starts_with("https://")) && is_target_text(text);
}

}  // namespace

std::string ConfigPath::expects(SettingRange range) { return "an absolute path" + bounds(range); }
Text ConfigPath::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range), [](std::string_view path) { return path.starts_with('/'); });
}

std::string ConfigUrlPath::expects(SettingRange range) {
  return "a URL path: decoded, beginning with /, without query, //, . and .. segments" + bounds(range);
}
Text ConfigUrlPath::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range), is_url_path);
}

std::string ConfigName::expects(SettingRange range) { return "a name of letters, digits, '_' and '-'" + bounds(range); }
Text ConfigName::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range), is_instance_name);
}

std::string ConfigUser::expects(SettingRange range) { return "a user name of the system or auto" + bounds(range); }
Text ConfigUser::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range), [](std::string_view user) {
    return user.front() != '-' && std::all_of(user.begin(), user.end(),
                                              [](char c) { return is_alnum(c) || c == '_' || c == '-' || c == '.'; });
  });
}

std::string ConfigHeaderValue::expects(SettingRange range) {
  return "a header value: ASCII, no blank at its ends" + bounds(range);
}
Text ConfigHeaderValue::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range), [](std::string_view value) {
    const bool visible = std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
    return visible && !is_blank(value.front()) && !is_blank(value.back());
  });
}

std::string ConfigToken::expects(SettingRange range) { return "a token (RFC 9110)" + bounds(range); }
Text ConfigToken::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range), is_token_text);
}

std::string ConfigMimeType::expects(SettingRange range) { return "a MIME type as TYPE/SUBTYPE" + bounds(range); }
Text ConfigMimeType::parse(std::string_view text, SettingRange range) {
  Text value = parse_text_value(text, range, expects(range), is_mime_type);
  if (value) std::transform(value->begin(), value->end(), value->begin(), ascii_lower);
  return value;
}

std::string ConfigTarget::expects(SettingRange range) {
  return "a redirect target: /PATH or http(s)://…, with $path, $query, $host, $$ and not beginning with // or /$path" +
         bounds(range);
}
Text ConfigTarget::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range), is_target);
}

std::string ConfigErrorPage::expects(SettingRange range) {
  return "a decoded URL path beginning with / (without query, //, . and .. segments) or an http(s)://HOST… URL" +
         bounds(range);
}
Text ConfigErrorPage::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range),
                          [](std::string_view page) { return is_url_path(page) || is_absolute_url(page); });
}

std::string ConfigCommand::expects(SettingRange range) { return "text" + bounds(range); }
Text ConfigCommand::parse(std::string_view text, SettingRange range) {
  return parse_text_value(text, range, expects(range), [](std::string_view) { return true; });
}

std::string ConfigHeaderName::what() { return "a header name of letters, digits, '-' and '_', at most 64"; }
bool ConfigHeaderName::check(std::string_view name) { return is_instance_name(name); }

std::string ConfigStatusName::what() { return "a status from 400 to 599 or STATUS_SUB, such as 404 or 404_3"; }
bool ConfigStatusName::check(std::string_view name) {
  const size_t bar = name.find('_');
  const std::string_view status = name.substr(0, bar);
  if (status.size() != 3 || (status[0] != '4' && status[0] != '5') || !parse_decimal(status)) return false;
  if (bar == std::string_view::npos) return true;
  const std::string_view sub = name.substr(bar + 1);
  return (sub.size() == 1 || sub.size() == 2) && parse_decimal(sub) && (sub == "0" || sub[0] != '0');
}

std::string ConfigExtensionName::what() {
  return "a file name extension without its dot: lower-case letters, digits, '-', '_', '+', at most 32";
}
bool ConfigExtensionName::check(std::string_view name) {
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
    return (is_alnum(c) && ascii_lower(c) == c) || c == '-' || c == '_' || c == '+';
  });
}

std::string ConfigVariableName::what() { return "a variable's name: letters, digits and '_', at most 128"; }
bool ConfigVariableName::check(std::string_view name) {
  return !name.empty() && name.size() <= 128 && !is_digit(name.front()) &&
         std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '_'; });
}

}  // namespace penstock
