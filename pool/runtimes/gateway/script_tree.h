// ScriptTree: which file below a root answers for a path, and what of the path is left for it (PATH_INFO).
//
// Walks the path from the root until it meets a file. Symbolic links are followed where they lead to something below
// the root, and nowhere else (openat2(2), RESOLVE_BENEATH); a name that begins with a dot is never looked for, and only
// regular files are scripts. What is checked here is a name: that nobody puts something else there before it is run is
// for the pool's identity, which should not be able to write below the root (`penstock secure audit`).
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>

namespace penstock {

struct FoundScript {
  std::string below_root;                            // "/a/b.cgi"
  std::string path_info;                             // "" or "/..."
  [[nodiscard]] std::string_view name() const;       // "b.cgi"
  [[nodiscard]] std::string_view extension() const;  // "cgi"; "" for none
};

class ScriptTree {
 public:
  // `root` as option_directory() gives it.
  [[nodiscard]] static Result<ScriptTree> open(const std::string& root);
  // `path`: decoded, "" or "/...". Nothing: no script answers for it.
  [[nodiscard]] std::optional<FoundScript> find(std::string_view path) const;
  // Whether `path` is that of a directory that find() would walk through.
  [[nodiscard]] bool leads_to_directory(std::string_view path) const;
  [[nodiscard]] const std::string& root() const { return root_; }

 private:
  ScriptTree() = default;
  // As find(); `directory`: the path ended in one.
  [[nodiscard]] std::optional<FoundScript> walk(std::string_view path, bool& directory) const;
  // What is at `walked`, whose last name is in `parent` (none: in the root). `last`: no name follows.
  [[nodiscard]] bool look(const std::string& walked, bool last, UniqueFd& parent, struct stat& info) const;
  std::string root_;
  UniqueFd directory_;
  mutable bool walks_ = false;  // the sandbox has no openat2: no link is followed, and nobody asks for it again
};

}  // namespace penstock
