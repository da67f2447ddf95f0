// The one-shot coders of zlib, brotli and zstd. Deterministic: no time stamp, no file name.
#include "src/base/assert.h"
#include "src/files/compress.h"

#include <brotli/encode.h>
#include <climits>
#include <new>
#include <zlib.h>
#include <zstd.h>

namespace penstock {
namespace {

constexpr int GZIP_WINDOW = 15 + 16;  // 32 KiB window, gzip framing (zlib.h, deflateInit2)
constexpr int GZIP_MEMORY = 9;

// zlib counts its input in unsigned int; bodies above that are never compressed.
bool gzip(std::string_view input, int level, char* out, uint64_t& size) {
  if (input.size() > UINT_MAX || size > UINT_MAX) return false;
  z_stream stream{};
  if (::deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));  // zlib reads it only
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(out);
  stream.avail_out = static_cast<uInt>(size);
  const bool whole = ::deflate(&stream, Z_FINISH) == Z_STREAM_END;
  size = stream.total_out;
  (void)::deflateEnd(&stream);
  return whole;
}

bool brotli(std::string_view input, int level, char* out, uint64_t& size) {
  size_t written = size;
  const bool whole = ::BrotliEncoderCompress(level, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_GENERIC, input.size(),
                                             reinterpret_cast<const uint8_t*>(input.data()), &written,
                                             reinterpret_cast<uint8_t*>(out)) == BROTLI_TRUE;
  size = written;
  return whole;
}

bool zstd(std::string_view input, int level, char* out, uint64_t& size) {
  const size_t written = ::ZSTD_compress(out, size, input.data(), input.size(), level);
  if (::ZSTD_isError(written) != 0) return false;
  size = written;
  return true;
}

}  // namespace

std::unique_ptr<char[]> compress_bytes(std::string_view input, Coding coding, int level, uint64_t bytes_max,
                                       uint64_t& size) {
  size = bytes_max;
  if (bytes_max == 0) return nullptr;
  // A web client need not accept a zstd window above 8 MiB (RFC 9659 section 3): level 19 stays below it.
  ASSERT(coding != Coding::IDENTITY);
  std::unique_ptr<char[]> out(new (std::nothrow) char[bytes_max]);
  if (out == nullptr) return nullptr;
  bool whole = false;
  switch (coding) {
    case Coding::GZIP:
      whole = gzip(input, level, out.get(), size);
      break;
    case Coding::BR:
      whole = brotli(input, level, out.get(), size);
      break;
    case Coding::ZSTD:
      whole = zstd(input, level, out.get(), size);
      break;
    case Coding::IDENTITY:
      break;
  }
  return whole ? std::move(out) : nullptr;
}

}  // namespace penstock
