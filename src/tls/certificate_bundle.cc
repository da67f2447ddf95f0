// Entries are sorted by path, so that a file is found by halving and the reader keeps no index of its own.
#include "src/tls/certificate_bundle.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

struct BundleHead {
  static constexpr uint64_t MAGIC = 0x31305452'45434e50;  // "PNCERT01"
  uint64_t magic = MAGIC;
  uint32_t count = 0;
  uint32_t reserved = 0;
};
struct BundleEntry {
  uint64_t path_offset = 0;
  uint64_t bytes_offset = 0;
  uint32_t path_size = 0;
  uint32_t bytes_size = 0;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

BundleEntry entry_at(const char* memory, size_t index) {
  BundleEntry entry;
  std::memcpy(&entry, memory + sizeof(BundleHead) + index * sizeof entry, sizeof entry);
  return entry;
}

}  // namespace

Result<UniqueFd> write_certificate_bundle(const std::vector<BundleFile>& files) {
  std::vector<const BundleFile*> sorted;
  for (const BundleFile& file : files) {
    if (file.bytes.find("PRIVATE KEY-----") != std::string::npos) {
      return fail(file.path + ": holds a private key; name a file with the certificates alone");
    }
    sorted.push_back(&file);
  }
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->path < b->path; });
  std::string head(sizeof(BundleHead) + sorted.size() * sizeof(BundleEntry), '\0');
  const BundleHead first{.count = static_cast<uint32_t>(sorted.size())};
  std::memcpy(head.data(), &first, sizeof first);
  uint64_t at = head.size();
  for (size_t i = 0; i < sorted.size(); ++i) {
    BundleEntry entry{.path_offset = at,
                      .bytes_offset = at + sorted[i]->path.size(),
                      .path_size = static_cast<uint32_t>(sorted[i]->path.size()),
                      .bytes_size = static_cast<uint32_t>(sorted[i]->bytes.size())};
    at = entry.bytes_offset + entry.bytes_size;
    std::memcpy(head.data() + sizeof first + i * sizeof entry, &entry, sizeof entry);
  }
  if (at > CertificateBundle::BYTES_MAX) return fail("the certificates are larger than 1 GiB in all");
  UniqueFd fd(::memfd_create("penstock-certificates", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fail_errno("memfd for certificates");
  bool written = write_all(fd.get(), head);
  std::string content;  // in pieces, so that thousands of small files are few system calls
  for (const BundleFile* file : sorted) {
    content.append(file->path).append(file->bytes);
    if (content.size() < 1'048'576) continue;
    written = written && write_all(fd.get(), content);
    content.clear();
  }
  written = written && write_all(fd.get(), content);
  if (!written) return fail_errno("write certificates to memory");
  constexpr int SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fcntl(fd.get(), F_ADD_SEALS, SEALS) != 0) return fail_errno("seal the memory of certificates");
  return fd;
}

Result<std::unique_ptr<CertificateBundle>> CertificateBundle::open(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return fail_errno("look at the certificates' memory");
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes < sizeof(BundleHead) || bytes > BYTES_MAX) return fail("the certificates' memory has a wrong size");
  void* const memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return fail_errno("map the certificates' memory");
  std::unique_ptr<CertificateBundle> bundle(new CertificateBundle(static_cast<const char*>(memory), bytes));  // NOLINT
  BundleHead head;
  std::memcpy(&head, memory, sizeof head);
  if (head.magic != BundleHead::MAGIC || head.count > (bytes - sizeof head) / sizeof(BundleEntry)) {
    return fail("the certificates' memory makes no sense");
  }
  for (uint32_t i = 0; i < head.count; ++i) {
    const BundleEntry entry = entry_at(bundle->memory_, i);
    const auto lies_inside = [bytes](uint64_t offset, uint32_t size) {
      return offset <= bytes && size <= bytes - offset;
    };
    if (!lies_inside(entry.path_offset, entry.path_size) || !lies_inside(entry.bytes_offset, entry.bytes_size)) {
      return fail("the certificates' memory names bytes outside of it");
    }
  }
  bundle->count_ = head.count;
  return bundle;
}

CertificateBundle::~CertificateBundle() { ::munmap(const_cast<char*>(memory_), bytes_); }

bool CertificateBundle::find(const std::string& path, std::string_view& bytes) const {
  size_t low = 0;
  size_t high = count_;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    const BundleEntry entry = entry_at(memory_, middle);
    const std::string_view here(memory_ + entry.path_offset, entry.path_size);
    if (here == path) {
      bytes = {memory_ + entry.bytes_offset, entry.bytes_size};
      return true;
    }
    here < path ? low = middle + 1 : high = middle;
  }
  return false;
}

void CertificateBundle::forget() const { (void)::madvise(const_cast<char*>(memory_), bytes_, MADV_DONTNEED); }

}  // namespace penstock
