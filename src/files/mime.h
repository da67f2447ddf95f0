// MIME types by file name: the system's table, a built-in one where there is none, and per-route overrides.
//
// MimeTypes is read once at start (before the sandbox closes) and shared by all; MimeTable is what
// one route sees: its overrides and its charset over the shared table. Both immutable after making,
// any thread. lookup() allocates nothing; views stay valid as long as the tables.
#pragma once

#include "src/base/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace penstock {

class MimeTypes {
 public:
  // Text in the form of mime.types(5): "type ext ext ...", '#' comments. What is not of that form is
  // skipped and counted. The built-in list (mime_types.def) lies beneath it. The first line that
  // names an extension wins.
  explicit MimeTypes(std::string_view text);
  // The system's file; an unreadable one leaves the built-in list and is told in `why`.
  [[nodiscard]] static MimeTypes load(const char* path = "/etc/mime.types", Status* why = nullptr);

  // By lower-case extension without its dot; "" where unknown.
  [[nodiscard]] std::string_view find(std::string_view extension) const;
  [[nodiscard]] size_t extension_count() const { return by_extension_.size(); }
  [[nodiscard]] size_t skipped_lines() const { return skipped_; }

 private:
  friend class MimeTable;
  void add(std::string_view text);
  void add_line(std::string_view line);

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  template <typename T>
  using Map = std::unordered_map<std::string, T, Hash, std::equal_to<>>;
  uint32_t intern(std::string_view type);

  std::vector<std::string> types_;
  Map<uint32_t> type_index_;
  Map<uint32_t> by_extension_;
  size_t skipped_ = 0;
};

struct MimeOverride {
  std::string extension;  // lower case, without the dot
  std::string type;
};

enum class UnknownTypePolicy : uint8_t { DENY, OCTET_STREAM };

class MimeTable {
 public:
  // `shared` outlives it. `charset`: appended as "; charset=..." to text types that carry none, and
  // to the XML, JSON-less script types that browsers decode by it; "" appends nothing.
  MimeTable(const MimeTypes& shared, std::span<const MimeOverride> overrides, std::string_view default_type,
            std::string_view charset);

  // The whole Content-Type value for a file name; `default_type` where the extension is unknown,
  // "" where that is empty too (the unknown-type policy then decides).
  [[nodiscard]] std::string_view lookup(std::string_view file_name) const;

 private:
  const MimeTypes& shared_;
  std::string default_type_;
  std::vector<std::string> with_charset_;  // by index in shared_.types_
  MimeTypes::Map<std::string> overrides_;
};

// Types to which a charset is appended: text/*, and those that are text by their registration.
[[nodiscard]] bool mime_is_text(std::string_view type);
// Whether compressing is worth trying: text, JSON, XML, SVG, wasm, fonts that are not compressed already.
[[nodiscard]] bool mime_is_compressible(std::string_view type);

}  // namespace penstock
