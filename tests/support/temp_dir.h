// TempDir: a directory of a test's own, gone with it; and short words for what tests do in it.
#pragma once

#include "src/base/assert.h"
#include "src/base/unique_fd.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace penstock {

class TempDir {
 public:
  // In `where`, by default where TMPDIR says.
  explicit TempDir(const std::filesystem::path& where = std::filesystem::temp_directory_path())
      : path_(where / "penstock_test_XXXXXX") {
    ASSERT(::mkdtemp(path_.data()) != nullptr);
    fd_.reset(::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    ASSERT(fd_.valid());
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::string at(std::string_view name) const { return path_ + '/' + std::string(name); }

  // Creates or rewrites in place (O_TRUNC).
  void write(std::string_view name, std::string_view bytes) const {
    const UniqueFd fd(::open(at(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    ASSERT(fd.valid());
    put(fd.get(), bytes);
  }
  // Replaces by rename: the old file or the new, never anything between.
  void replace(std::string_view name, std::string_view bytes) const {
    const std::string temporary = std::string(name) + ".new~";
    write(temporary, bytes);
    rename(temporary, name);
  }
  void rename(std::string_view from, std::string_view to) const {
    ASSERT(::rename(at(from).c_str(), at(to).c_str()) == 0);
  }
  void remove(std::string_view name) const { ASSERT(::unlink(at(name).c_str()) == 0); }
  void make_dir(std::string_view name) const { ASSERT(::mkdir(at(name).c_str(), 0755) == 0); }
  // `target` as it is written into the link.
  void link_to(std::string_view target, std::string_view name) const {
    ASSERT(::symlink(std::string(target).c_str(), at(name).c_str()) == 0);
  }
  void hard_link(std::string_view from, std::string_view to) const {
    ASSERT(::link(at(from).c_str(), at(to).c_str()) == 0);
  }

  static void put(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t size = ::write(fd, bytes.data(), bytes.size());
      ASSERT(size > 0);
      bytes.remove_prefix(static_cast<size_t>(size));
    }
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

}  // namespace penstock
