#include "src/log/drain/log_encoder.h"

#include "src/base/assert.h"

#include <utility>

namespace penstock {

LogEncoder::LogEncoder(const AccessLogSettings& settings, std::string computer_name, uint64_t hash_seed)
    : escape_(escape_of(settings.format)) {
  ASSERT(settings.wanted());
  if (settings.format == LogFormat::BINARY) {
    binary_ = std::make_unique<BinaryWriter>(hash_seed);
    return;
  }
  lines_.emplace(LineFormatOptions{.format = settings.format,
                                   .fields = settings.fields,
                                   .utc = settings.utc,
                                   .computer_name = std::move(computer_name)});
}

void LogEncoder::start(LineBuffer& out, WallTime now, bool file_is_empty) {
  if (lines_) {
    lines_->header(out, now);
  } else {
    binary_->start(out, now, file_is_empty);
  }
}

void LogEncoder::gap(LineBuffer& out, const RingReader& ring) {
  if (ring.gap_before() == 0) return;
  if (binary_) {
    binary_->gap(out, ring.reactor(), ring.instance(), ring.gap_before());
  } else {
    lines_->gap(out, ring.reactor(), ring.gap_before());
  }
}

void LogEncoder::add(LineBuffer& out, const EndRecordView& record, const RingReader& ring) {
  gap(out, ring);
  if (binary_) {
    binary_->add(out, record, ring.reactor(), ring.instance());
    return;
  }
  AccessEntry entry = entry_of(record.head, ring.reactor());
  texts_.fill(entry, record, escape_);
  lines_->line(out, entry);
}

void LogEncoder::finish(LineBuffer& out) {
  if (binary_) binary_->finish(out);
}

void LogEncoder::forget() {
  if (binary_) binary_->reset();
}

}  // namespace penstock
