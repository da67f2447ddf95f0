#include "src/base/shared_memory.h"

#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>

namespace penstock {
namespace {

constexpr int SEALS = F_SEAL_SHRINK | F_SEAL_GROW;

}  // namespace

Result<UniqueFd> create_shared_memory(const char* name, uint64_t bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fail_errno(std::string("memfd_create ") + name);
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return fail_errno(std::string("ftruncate ") + name);
  if (::fchmod(fd.get(), 0600) != 0) return fail_errno(std::string("fchmod ") + name);
  if (::fcntl(fd.get(), F_ADD_SEALS, SEALS) != 0) return fail_errno(std::string("seal ") + name);
  return fd;
}

Result<UniqueFd> read_only(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader.valid()) return fail_errno("open " + path);
  return reader;
}

Status check_shared_memory(int fd, uint64_t bytes, const char* name) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return fail_errno(std::string("fstat of ") + name);
  if (static_cast<uint64_t>(info.st_size) != bytes) {
    return fail(std::string(name) + " has another size than its header says");
  }
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & SEALS) != SEALS) return fail(std::string(name) + " is not sealed against resizing");
  return {};
}

Result<SharedMapping> SharedMapping::map(int fd, uint64_t bytes, Access access) {
  const int mode = access == Access::READ_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
  void* data = ::mmap(nullptr, bytes, mode, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return fail_errno("map shared memory");
  SharedMapping mapping;
  mapping.data_ = static_cast<unsigned char*>(data);
  mapping.bytes_ = bytes;
  return mapping;
}

SharedMapping::~SharedMapping() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

}  // namespace penstock
