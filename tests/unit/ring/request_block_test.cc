#include "pool/ring/request_block.h"

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

const RequestBlock PARTS{.method = "GET",
                         .target = "/a%20b?c",
                         .path = "/a b",
                         .query = "c",
                         .authority = "example.org:81",
                         .route_prefix = "/a b",
                         .remote_address = "192.0.2.1",
                         .server_address = "192.0.2.2",
                         .site = "main",
                         .remote_port = 50000,
                         .server_port = 81,
                         .has_query = true};

uint32_t write(std::span<char> room) {
  RequestBlockWriter writer(room, PARTS, 2);
  writer.field("Host", "example.org:81");
  writer.field("X-Empty", "");
  return writer.finish();
}

std::string_view text(const std::vector<char>& block, penstock_text at) { return {block.data() + at.at, at.bytes}; }

TEST(RequestBlock, the_certificate_of_a_client_lies_between_head_and_fields) {
  RequestBlock parts = PARTS;
  parts.client_subject = "CN=anna";
  parts.client_fingerprint = "00ff";
  for (const auto client : {PENSTOCK_CLIENT_NOT_ASKED, PENSTOCK_CLIENT_NONE, PENSTOCK_CLIENT_VERIFIED}) {
    parts.client = client;
    std::vector<char> room(4096, 'x');
    RequestBlockWriter writer(room, parts, 1);
    writer.field("Host", "example.org:81");
    const uint32_t bytes = writer.finish();
    penstock_request_head head;
    std::memcpy(&head, room.data(), sizeof head);
    EXPECT_EQ(head.client, client);
    penstock_field field;
    std::memcpy(&field, room.data() + head.fields_at, sizeof field);
    EXPECT_EQ(text(room, field.name), "Host");
    const bool verified = client == PENSTOCK_CLIENT_VERIFIED;
    EXPECT_EQ(head.fields_at, sizeof head + (verified ? sizeof(penstock_client_certificate) : 0));
    // Of who was not verified not a word is there.
    EXPECT_EQ(std::string_view(room.data(), bytes).find("CN=anna") != std::string_view::npos, verified);
    if (!verified) continue;
    penstock_client_certificate certificate;
    std::memcpy(&certificate, room.data() + sizeof head, sizeof certificate);
    EXPECT_EQ(text(room, certificate.subject), "CN=anna");
    EXPECT_EQ(text(room, certificate.fingerprint), "00ff");
  }
}

TEST(RequestBlock, holds_every_part_each_with_a_nul_behind_it) {
  std::vector<char> room(4096, 'x');
  const uint32_t bytes = write(room);
  ASSERT_GT(bytes, sizeof(penstock_request_head));
  penstock_request_head head;
  std::memcpy(&head, room.data(), sizeof head);
  EXPECT_EQ(head.bytes, bytes);
  EXPECT_EQ(text(room, head.method), "GET");
  EXPECT_EQ(text(room, head.target), "/a%20b?c");
  EXPECT_EQ(text(room, head.path), "/a b");
  EXPECT_EQ(text(room, head.query), "c");
  EXPECT_EQ(text(room, head.authority), "example.org:81");
  EXPECT_EQ(text(room, head.route_prefix), "/a b");
  EXPECT_EQ(text(room, head.remote_address), "192.0.2.1");
  EXPECT_EQ(text(room, head.server_address), "192.0.2.2");
  EXPECT_EQ(text(room, head.site), "main");
  EXPECT_EQ(head.version_major, 1);
  EXPECT_EQ(head.version_minor, 1);
  EXPECT_EQ(head.remote_port, 50000);
  EXPECT_EQ(head.server_port, 81);
  EXPECT_EQ(head.secure, 0);
  EXPECT_EQ(head.has_query, 1);
  ASSERT_EQ(head.field_count, 2U);
  penstock_field fields[2];
  std::memcpy(fields, room.data() + head.fields_at, sizeof fields);
  EXPECT_EQ(text(room, fields[0].name), "Host");
  EXPECT_EQ(text(room, fields[0].value), "example.org:81");
  EXPECT_EQ(text(room, fields[1].name), "X-Empty");
  EXPECT_EQ(text(room, fields[1].value), "");
  for (const penstock_text at : {head.method, head.site, fields[0].value, fields[1].value}) {
    EXPECT_EQ(room[at.at + at.bytes], '\0');
  }
}

TEST(RequestBlock, fits_to_the_byte_and_never_writes_beyond_its_room) {
  std::vector<char> room(4096);
  const uint32_t bytes = write(room);
  for (uint32_t size = 0; size <= bytes; ++size) {
    std::vector<char> tight(size);  // the sanitizer sees a step outside
    EXPECT_EQ(write(tight), size == bytes ? bytes : 0U) << size;
  }
}

}  // namespace
}  // namespace penstock
