#include "pool/ring/request_block.h"

#include "src/base/assert.h"

#include <cstring>

namespace penstock {
namespace {

size_t fields_begin(const RequestBlock& parts) {
  return sizeof(penstock_request_head) +
         (parts.client == PENSTOCK_CLIENT_VERIFIED ? sizeof(penstock_client_certificate) : 0);
}

}  // namespace

RequestBlockWriter::RequestBlockWriter(std::span<char> room, const RequestBlock& parts, size_t field_count)
    : room_(room),
      used_(fields_begin(parts) + field_count * sizeof(penstock_field)),
      fields_at_(fields_begin(parts)),
      field_count_(field_count) {
  head_.version_major = parts.version_major;
  head_.version_minor = parts.version_minor;
  head_.field_count = static_cast<uint32_t>(field_count);
  head_.fields_at = static_cast<uint32_t>(fields_at_);
  head_.remote_port = parts.remote_port;
  head_.server_port = parts.server_port;
  head_.secure = parts.secure ? 1 : 0;
  head_.has_query = parts.has_query ? 1 : 0;
  head_.method = put(parts.method);
  head_.target = put(parts.target);
  head_.path = put(parts.path);
  head_.query = put(parts.query);
  head_.authority = put(parts.authority);
  head_.route_prefix = put(parts.route_prefix);
  head_.remote_address = put(parts.remote_address);
  head_.server_address = put(parts.server_address);
  head_.site = put(parts.site);
  head_.client = static_cast<uint8_t>(parts.client);
  if (parts.client != PENSTOCK_CLIENT_VERIFIED) return;
  const penstock_client_certificate certificate{.subject = put(parts.client_subject),
                                                .fingerprint = put(parts.client_fingerprint)};
  if (fits_) std::memcpy(room_.data() + sizeof head_, &certificate, sizeof certificate);
}

penstock_text RequestBlockWriter::put(std::string_view text) {
  if (!fits_ || used_ > room_.size() || text.size() >= room_.size() - used_) {
    fits_ = false;
    return {};
  }
  const penstock_text at{.at = static_cast<uint32_t>(used_), .bytes = static_cast<uint32_t>(text.size())};
  if (!text.empty()) std::memcpy(room_.data() + used_, text.data(), text.size());
  room_[used_ + text.size()] = '\0';
  used_ += text.size() + 1;
  return at;
}

void RequestBlockWriter::field(std::string_view name, std::string_view value) {
  ASSERT(fields_done_ < field_count_);
  const penstock_field field{.name = put(name), .value = put(value)};
  if (fits_) std::memcpy(room_.data() + fields_at_ + fields_done_ * sizeof field, &field, sizeof field);
  ++fields_done_;
}

uint32_t RequestBlockWriter::finish() {
  ASSERT(fields_done_ == field_count_);
  if (!fits_) return 0;
  head_.bytes = static_cast<uint32_t>(used_);
  std::memcpy(room_.data(), &head_, sizeof head_);
  return head_.bytes;
}

}  // namespace penstock
