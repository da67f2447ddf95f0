// Feeds any bytes to what reads a script's first line and a process's status: root reads the one from a file that a
// worker may have written. Checked: what is found lies within the input, is one word, and is there.
#include "pool/sandbox/program_start.h"
#include "src/base/assert.h"

#include <cstddef>
#include <cstdint>

namespace penstock {
namespace {

void feed(std::string_view input) {
  const std::string_view interpreter = script_interpreter(input);
  if (!interpreter.empty()) {
    ASSERT(input.starts_with("#!") && interpreter.data() >= input.data());
    ASSERT(interpreter.data() + interpreter.size() <= input.data() + input.size());
    ASSERT(interpreter.find_first_of(std::string_view(" \t\n\0", 4)) == std::string_view::npos);
  }
  if (const auto origin = parse_origin(input)) ASSERT(origin->process > 0 && origin->parent >= 0);
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penstock::feed({reinterpret_cast<const char*>(data), size});
  return 0;
}
