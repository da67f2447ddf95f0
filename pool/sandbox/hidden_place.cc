// A place is mapped and never unmapped: the exec does it.
#include "pool/sandbox/hidden_place.h"

#include <bit>
#include <cstring>
#include <sys/mman.h>
#include <sys/random.h>

namespace penstock {
namespace {

constexpr uint64_t PLACE_UNIT = 4096;
constexpr uint64_t LOWEST = 1ULL << 36;   // above what small programs map
constexpr uint64_t HIGHEST = 1ULL << 46;  // below the stack, on machines with 47 bits of user addresses
constexpr int TRIES_MAX = 64;

}  // namespace

Result<uint64_t> hide(const void* bytes, size_t size) {
  for (int i = 0; i < TRIES_MAX; ++i) {
    uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random) return fail_errno("sandbox: getrandom");
    const uint64_t wanted = LOWEST + random % (HIGHEST - LOWEST) / 16 * 16;
    const uint64_t offset = wanted % PLACE_UNIT;
    void* const page = ::mmap(std::bit_cast<void*>(wanted - offset), size + offset, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page == MAP_FAILED) continue;
    std::memcpy(static_cast<char*>(page) + offset, bytes, size);
    return wanted;
  }
  return fail_errno("sandbox: no room for the command");
}

}  // namespace penstock
