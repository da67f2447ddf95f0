// Reading a directory into a DirectoryList. Blocks; for the file worker's thread.
#pragma once

#include "src/files/directory_list.h"
#include "src/files/file_info.h"

namespace penstock {

// Lists what could be served: regular files and directories, links where the policy follows them
// (with the type and size of what they name), dotfiles where `list` wants them; sorted. 0 or an
// errno. `list` must have been reset() with its bounds.
[[nodiscard]] int read_directory(const RootDir& root, const char* path, SymlinkPolicy symlinks, DirectoryList& list);

// Which of the codings' suffixes the names in a directory end in: coding_bit()s, or -errno. All bits where nobody can
// tell for how long that stays true, or where it has more than a few thousand names. `version` is set where the
// directory was the same before and after.
[[nodiscard]] int read_suffixes(const RootDir& root, const char* path, SymlinkPolicy symlinks,
                                DirectoryVersion& version);

}  // namespace penstock
