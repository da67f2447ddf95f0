// A binary log of any bytes: converting ends, stays inside, and gives whole lines.
#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/log/drain/binary_log.h"
#include "src/log/drain/convert.h"

#include <cstring>
#include <string>

namespace {

using namespace penstock;

// Checksums hide what stands behind them from the fuzzer: they are made right, block by block.
std::string with_checksums(std::string_view input) {
  std::string file(input);
  size_t at = sizeof(BinaryFileHeader);
  while (at + sizeof(BlockHeader) <= file.size()) {
    BlockHeader header;
    std::memcpy(&header, file.data() + at, sizeof(header));
    if (header.magic != BlockHeader::MAGIC || header.bytes > file.size() - at - sizeof(header)) break;
    header.checksum = hash_bytes(std::string_view(file).substr(at + sizeof(header), header.bytes), header.count);
    std::memcpy(file.data() + at, &header, sizeof(header));
    at += sizeof(header) + header.bytes;
  }
  return file;
}

void convert(std::string_view file) {
  const std::string_view files[] = {file, file};
  for (const LogFormat format : {LogFormat::W3C, LogFormat::NCSA, LogFormat::JSON}) {
    for (const LogOrder order : {LogOrder::FILE, LogOrder::START, LogOrder::FINISH}) {
      uint64_t lines = 0;
      const auto report =
          convert_binary_logs(files, {0}, {.line = {.format = format, .fields = default_log_fields()}, .order = order},
                              [&](std::string_view text) -> Status {
                                ASSERT(!text.empty() && text.back() == '\n');
                                for (const char c : text) lines += c == '\n' ? 1 : 0;
                                return {};
                              });
      if (report) ASSERT(lines >= report->records);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  convert(input);
  convert(with_checksums(input));
  return 0;
}
