#include "src/files/directory_list.h"

#include <algorithm>

namespace penstock {

void DirectoryList::reset(uint32_t entries_max, bool dotfiles) {
  entries_.clear();
  names_.clear();
  entries_max_ = entries_max;
  dotfiles_ = dotfiles;
  truncated_ = false;
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
