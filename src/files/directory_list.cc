#include "src/files/directory_list.h"

#include <algorithm>

namespace penstock {

void DirectoryList::reset(uint32_t entries_max, bool dotfiles, const DecodeRules& decode) {
  decode_ = decode;
  entries_.clear();
  names_.clear();
  entries_max_ = entries_max;
  dotfiles_ = dotfiles;
  truncated_ = false;
}

bool DirectoryList::can_be_asked_for(std::string_view name) const {
  std::string raw = "/";
  raw += name;
  if (decode_.segment_bytes >= name.size() && is_canonical_ascii(raw)) return true;
  raw.resize(1);
  append_url_escaped(name, raw);
  std::string out(canonical_bytes_max(raw.size(), decode_), '\0');
  const CanonicalPath path = canonicalise(raw, decode_, out);
  return path.reason == Reason::NONE && path.path.substr(1) == name;
}

bool DirectoryList::add(std::string_view name, const FileInfo& info) {
  if (entries_.size() >= entries_max_ || names_.size() + name.size() > UINT32_MAX) {
    truncated_ = true;
    return false;
  }
  entries_.push_back({.name_offset = static_cast<uint32_t>(names_.size()),
                      .name_size = static_cast<uint16_t>(name.size()),
                      .directory = info.type == FileType::DIRECTORY,
                      .size = info.size,
                      .mtime_ns = info.mtime_ns});
  names_ += name;
  return true;
}

void DirectoryList::sort() {
  std::sort(entries_.begin(), entries_.end(), [this](const Entry& a, const Entry& b) {
    if (a.directory != b.directory) return a.directory;
    return name(a) < name(b);
  });
}

}  // namespace penstock
