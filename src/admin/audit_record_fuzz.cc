// Feeds texts of any content as records of the kernel's audit log: names in them are an intruder's. Checked: nothing
// crashes, and nothing grows beyond its bounds.
#include "src/admin/audit_record.h"
#include "src/base/assert.h"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size == 0) return 0;
  constexpr uint16_t TYPES[] = {AUDIT_RECORD_SYSCALL, AUDIT_RECORD_END, AUDIT_RECORD_LANDLOCK_ACCESS,
                                AUDIT_RECORD_LANDLOCK_DOMAIN, 0};
  const auto record = parse_audit_record(TYPES[data[0] % 5], {reinterpret_cast<const char*>(data) + 1, size - 1});
  if (!record) return 0;
  ASSERT(record->object.size() <= size + 32 && record->object.size() <= 4096 + 32 && record->denied.size() <= 4096);
  ASSERT(record->unix_ms >= 0);
  ASSERT(record->type == AUDIT_RECORD_LANDLOCK_ACCESS || (record->object.empty() && record->denied.empty()));
  return 0;
}
