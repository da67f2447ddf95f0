#include "src/base/reserve.h"

#include "src/base/result.h"

#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace penstock {

void* reserve_memory(size_t bytes) noexcept {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory != MAP_FAILED) return memory;
  const auto why = fail_errno("cannot reserve " + std::to_string((bytes >> 20) + 1) + " MiB of address space");
  const std::string text = "penstock: " + why.error().message +
                           "; allow more (ulimit -v, vm.overcommit_memory not 2) or lower server.connections_max\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(1);
}

}  // namespace penstock
