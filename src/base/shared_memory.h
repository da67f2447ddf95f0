// Shared memory between processes: sealed memfds, handed on by descriptor, and their mappings.
//
// A file is sealed against shrinking and growing from its first moment, so that no access inside its mapping can
// fault (SIGBUS) whatever the other side does. Its mode is 0600: a process that was handed a read-only description
// cannot open a better one through /proc unless it runs as the file's owner.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <utility>

namespace penstock {

// A zeroed memfd of exactly `bytes`, close-on-exec (memfd_create(2)). `name` shows in /proc/PID/maps.
[[nodiscard]] Result<UniqueFd> create_shared_memory(const char* name, uint64_t bytes);

// A second, read-only description of `fd` (through /proc/self/fd), to be handed to a reader: on it
// mmap(PROT_WRITE, MAP_SHARED) is refused.
[[nodiscard]] Result<UniqueFd> read_only(int fd);

// Whether `fd` has that size and can be resized by nobody. `name` begins the error's sentence.
[[nodiscard]] Status check_shared_memory(int fd, uint64_t bytes, const char* name);

// A mapping (MAP_SHARED) of the first `bytes` of a file; the descriptor may be closed afterwards. Unmaps at its end.
class SharedMapping {
 public:
  enum class Access : uint8_t { READ, READ_WRITE };
  [[nodiscard]] static Result<SharedMapping> map(int fd, uint64_t bytes, Access access);

  SharedMapping() = default;
  SharedMapping(SharedMapping&& other) noexcept { *this = std::move(other); }
  SharedMapping& operator=(SharedMapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;
  ~SharedMapping();

  [[nodiscard]] unsigned char* data() const { return data_; }  // nullptr: nothing is mapped
  [[nodiscard]] uint64_t bytes() const { return bytes_; }

 private:
  unsigned char* data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace penstock
