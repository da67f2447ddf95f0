// Invariant: every type in types_ is a valid media type (RFC 9110 section 8.3.1: type "/" subtype of
// tokens, parameters only from overrides), in lower case where it came from a table, so that what
// lookup() returns may stand in a header as it is.
#include "src/files/mime.h"

#include "src/base/bytes.h"
#include "src/base/unique_fd.h"

#include <array>
#include <fcntl.h>
#include <unistd.h>

namespace penstock {
namespace {

struct BuiltIn {
  std::string_view extension;
  std::string_view type;
};
constexpr BuiltIn BUILT_IN[] = {
#define X(extension, type) {extension, type},
#include "src/files/mime_types.def"
#undef X
};

constexpr size_t FILE_BYTES_MAX = 4 << 20;  // Debian's table has 75 KB
constexpr size_t EXTENSION_BYTES_MAX = 32;

constexpr std::array<bool, 256> token_table() {
  std::array<bool, 256> table{};
  for (const char c :
       std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}
constexpr std::array<bool, 256> TOKEN = token_table();

bool is_token(std::string_view text) {
  for (const char c : text) {
    if (!TOKEN[static_cast<unsigned char>(c)]) return false;
  }
  return !text.empty();
}

bool is_media_type(std::string_view text) {
  const size_t slash = text.find('/');
  return slash != std::string_view::npos && text.size() < 256 && is_token(text.substr(0, slash)) &&
         is_token(text.substr(slash + 1));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = ascii_lower(c);
  return out;
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

// The next word of `line`, which loses it; "" at the end.
std::string_view take_word(std::string_view& line) {
  size_t begin = 0;
  while (begin < line.size() && is_blank(line[begin])) ++begin;
  size_t end = begin;
  while (end < line.size() && !is_blank(line[end])) ++end;
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

// Lower-case extension of `file_name` in `buffer`, or "".
std::string_view extension_of(std::string_view file_name, std::array<char, EXTENSION_BYTES_MAX>& buffer) {
  const size_t dot = file_name.rfind('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view extension = file_name.substr(dot + 1);
  if (extension.empty() || extension.size() > buffer.size()) return {};
  for (size_t i = 0; i < extension.size(); ++i) buffer[i] = ascii_lower(extension[i]);
  return {buffer.data(), extension.size()};
}

// "text/html" of "text/html; charset=x".
std::string_view bare_type(std::string_view type) { return trim_ows(type.substr(0, type.find(';'))); }

std::string read_whole(int fd, size_t bytes_max, int& error) {
  std::string text;
  std::array<char, 16 * 1024> buffer;
  error = 0;
  for (;;) {
    const ssize_t size = ::read(fd, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) error = errno;
    if (size <= 0) return text;
    text.append(buffer.data(), static_cast<size_t>(size));
    if (text.size() > bytes_max) {
      error = EFBIG;
      return {};
    }
  }
}

}  // namespace

MimeTypes::MimeTypes(std::string_view text) {
  add(text);
  // Beneath: only what the table does not say.
  for (const BuiltIn& row : BUILT_IN) by_extension_.try_emplace(std::string(row.extension), intern(row.type));
}

MimeTypes MimeTypes::load(const char* path, Status* why) {
  std::string text;
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  int error = fd.valid() ? 0 : errno;
  if (fd.valid()) text = read_whole(fd.get(), FILE_BYTES_MAX, error);
  if (error != 0 && why != nullptr) *why = fail_errno(std::string("read ") + path, error);
  return MimeTypes(text);
}

void MimeTypes::add(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    add_line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void MimeTypes::add_line(std::string_view line) {
  line = line.substr(0, line.find('#'));
  const std::string_view type = take_word(line);
  if (type.empty()) return;
  if (!is_media_type(type)) {
    ++skipped_;
    return;
  }
  std::string_view extension = take_word(line);
  if (extension.empty()) return;  // a type without extensions: most of the table
  const uint32_t index = intern(lower(type));
  for (; !extension.empty(); extension = take_word(line)) {
    if (extension.size() <= EXTENSION_BYTES_MAX) by_extension_.try_emplace(lower(extension), index);
  }
}

uint32_t MimeTypes::intern(std::string_view type) {
  const auto known = type_index_.find(type);
  if (known != type_index_.end()) return known->second;
  types_.emplace_back(type);
  return type_index_.emplace(std::string(type), static_cast<uint32_t>(types_.size() - 1)).first->second;
}

std::string_view MimeTypes::find(std::string_view extension) const {
  const auto found = by_extension_.find(extension);
  return found == by_extension_.end() ? std::string_view() : std::string_view(types_[found->second]);
}

MimeTable::MimeTable(const MimeTypes& shared, std::span<const MimeOverride> overrides, std::string_view default_type,
                     std::string_view charset)
    : shared_(shared) {
  const auto complete = [&](std::string_view type) {
    std::string full(type);
    if (!charset.empty() && !type.empty() && type.find(';') == std::string_view::npos && mime_is_text(type)) {
      full += "; charset=";
      full += charset;
    }
    return full;
  };
  default_type_ = complete(default_type);
  with_charset_.reserve(shared.types_.size());
  for (const std::string& type : shared.types_) with_charset_.push_back(complete(type));
  for (const MimeOverride& row : overrides) overrides_[lower(row.extension)] = complete(row.type);
}

std::string_view MimeTable::lookup(std::string_view file_name) const {
  std::array<char, EXTENSION_BYTES_MAX> buffer;
  const std::string_view extension = extension_of(file_name, buffer);
  if (extension.empty()) return default_type_;
  if (const auto own = overrides_.find(extension); own != overrides_.end()) return own->second;
  const auto found = shared_.by_extension_.find(extension);
  return found == shared_.by_extension_.end() ? std::string_view(default_type_)
                                              : std::string_view(with_charset_[found->second]);
}

bool mime_is_text(std::string_view type) {
  type = bare_type(type);
  // JSON is UTF-8 by definition and has no charset parameter (RFC 8259 section 11).
  return type.starts_with("text/") || type == "application/javascript" || type == "application/ecmascript" ||
         type == "application/xml" || type == "application/xhtml+xml" || type == "application/rss+xml" ||
         type == "application/atom+xml" || type == "application/xslt+xml" || type == "image/svg+xml";
}

bool mime_is_compressible(std::string_view type) {
  type = bare_type(type);
  if (mime_is_text(type) || type.ends_with("+json") || type.ends_with("+xml")) return true;
  constexpr std::string_view OTHERS[] = {"application/json",
                                         "application/wasm",
                                         "application/x-ndjson",
                                         "application/rtf",
                                         "application/postscript",
                                         "application/vnd.ms-fontobject",
                                         "font/ttf",
                                         "font/otf",
                                         "image/bmp",
                                         "image/vnd.microsoft.icon",
                                         "image/x-icon"};
  for (const std::string_view other : OTHERS) {
    if (type == other) return true;
  }
  return false;
}

}  // namespace penstock
