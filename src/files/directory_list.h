// DirectoryList: the entries of one directory, in one arena; and the pages made of them.
//
// Filled by a FileReader's LIST (on a worker thread), read by the loader afterwards; never both at
// once. Bounded: beyond entries_max it is marked truncated and says so on the page. ListingWriter
// makes HTML or JSON from it in slices, so that 10^4 entries never hold up a reactor's turn.
#pragma once

#include "src/files/file_info.h"
#include "src/http/target.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class DirectoryList {
 public:
  struct Entry {
    uint32_t name_offset = 0;
    uint16_t name_size = 0;
    bool directory = false;
    uint64_t size = 0;
    int64_t mtime_ns = 0;
  };

  // `decode`: the rules that the URL of an entry will be held to.
  void reset(uint32_t entries_max, bool dotfiles, const DecodeRules& decode = {});

  // Whether a URL can name it: no rule refuses the one that leads to it, or changes what it says.
  [[nodiscard]] bool can_be_asked_for(std::string_view name) const;

  // False when it is full: the entry was dropped and truncated() is set.
  bool add(std::string_view name, const FileInfo& info);
  // Directories first, then files, each by bytes of the name.
  void sort();

  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  [[nodiscard]] std::string_view name(const Entry& entry) const {
    return {names_.data() + entry.name_offset, entry.name_size};
  }
  [[nodiscard]] bool truncated() const { return truncated_; }
  [[nodiscard]] bool dotfiles() const { return dotfiles_; }
  [[nodiscard]] uint32_t entries_max() const { return entries_max_; }

 private:
  std::vector<Entry> entries_;
  std::string names_;
  DecodeRules decode_;
  uint32_t entries_max_ = 0;
  bool dotfiles_ = false;
  bool truncated_ = false;
};

enum class ListingFormat : uint8_t { HTML, JSON };

[[nodiscard]] std::string_view listing_content_type(ListingFormat format);

class ListingWriter {
 public:
  // `list` must stay unchanged until the writer is done. `url_path`: canonical, decoded, with '/' at
  // both ends; `footer`: HTML put before the end of an HTML page as it is (from the config).
  void begin(const DirectoryList& list, std::string_view url_path, ListingFormat format, std::string_view footer);
  // Appends up to `entries` more entries to `out`; true when the page is complete.
  bool write(uint32_t entries, std::string& out);

 private:
  void write_head(std::string& out);
  void write_entry(const DirectoryList::Entry& entry, std::string& out);
  void write_tail(std::string& out);

  const DirectoryList* list_ = nullptr;
  std::string url_path_;
  std::string footer_;
  ListingFormat format_ = ListingFormat::HTML;
  size_t next_ = 0;
  bool head_written_ = false;
};

// Text as it may stand in HTML content or a double-quoted attribute. Bytes that are not UTF-8
// become U+FFFD.
void append_html_escaped(std::string_view text, std::string& out);
// Text inside a JSON string (RFC 8259 section 7). Bytes that are not UTF-8 become U+FFFD.
void append_json_escaped(std::string_view text, std::string& out);
// One path segment as a relative reference (RFC 3986 section 4.2): everything but unreserved
// characters percent-encoded, byte by byte, so that any file name comes back as it is.
void append_url_escaped(std::string_view segment, std::string& out);

}  // namespace penstock
