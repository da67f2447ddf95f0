// The worked example of pool/abi/README.md, byte for byte.
#include "pool/ring/server_link.h"
#include "pool/ring/worker_link.h"
#include "tests/support/plain_channel.h"

#include <cctype>
#include <charconv>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>

namespace penstock {
namespace {

size_t from_hex(const std::string& text) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  EXPECT_TRUE(error == std::errc() && end == text.data() + text.size()) << text;
  return number;
}

// The bytes of the block that begins with the line "NAME:" inside the page's code fences, written as `OFFSET  HH HH …`.
std::string from_page(const std::string& name) {
  std::ifstream page(PENSTOCK_SOURCE_ROOT "/pool/abi/README.md");
  std::string bytes;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line == name + ":") {
      inside = true;
    } else if (inside && (line.empty() || std::isxdigit(static_cast<unsigned char>(line[0])) == 0)) {
      break;
    } else if (inside) {
      std::istringstream numbers(line.substr(0, line.find('|')));
      std::string offset;
      numbers >> offset;
      EXPECT_EQ(from_hex(offset), bytes.size()) << line;
      for (std::string byte; numbers >> byte;) bytes += static_cast<char>(from_hex(byte));
    }
  }
  return bytes;
}

// As the page shows it.
std::string dump(std::string_view bytes) {
  std::ostringstream out;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    char text[24];
    std::snprintf(text, sizeof text, "%04zx ", at);
    out << text;
    for (size_t i = at; i < std::min(at + 16, bytes.size()); ++i) {
      std::snprintf(text, sizeof text, " %02x", static_cast<unsigned char>(bytes[i]));
      out << text;
    }
    out << "\n";
  }
  return out.str();
}

void expect_as_on_the_page(const std::string& name, const void* at, size_t bytes) {
  const std::string actual(static_cast<const char*>(at), bytes);
  EXPECT_TRUE(from_page(name) == actual) << name << " is\n" << dump(actual);
}

TEST(Abi, is_what_the_page_says) {
  PlainChannel channel({.entries = 64, .exchanges_max = 4, .chunk_bytes = 4096, .chunks = 8, .arena_bytes = 4096});
  ServerLink server(channel.memory, 1, {});
  WorkerLink worker(channel.memory);
  WorkerEvent heard;
  LinkEvent event;
  ASSERT_TRUE(worker.next(heard) && !worker.flush() && server.next(event));

  struct {
    penstock_request_head head{};
    penstock_field field{};
    char text[64] = {};
  } block;
  uint32_t text_at = offsetof(decltype(block), text);
  const auto put = [&](std::string_view text) {
    std::memcpy(reinterpret_cast<char*>(&block) + text_at, text.data(), text.size());
    const penstock_text placed{.at = text_at, .bytes = static_cast<uint32_t>(text.size())};
    text_at += static_cast<uint32_t>(text.size()) + 1;
    return placed;
  };
  block.head.version_major = 1;
  block.head.version_minor = 1;
  block.head.field_count = 1;
  block.head.fields_at = sizeof block.head;
  block.head.remote_port = 40'000;
  block.head.server_port = 80;
  block.head.method = put("GET");
  block.head.target = block.head.path = put("/hi");
  block.head.query = block.head.route_prefix = {.at = text_at - 1, .bytes = 0};
  block.head.authority = put("a.example");
  block.head.remote_address = block.head.server_address = put("127.0.0.1");
  block.head.site = put("main");
  block.field = {.name = put("Accept"), .value = put("*/*")};
  block.head.bytes = text_at;

  const std::span<char> room = server.request_room();
  ASSERT_FALSE(room.empty());
  std::memcpy(room.data(), &block, text_at);
  const Handle exchange = server.begin({.serial = 7, .head_bytes = text_at, .length = 0});
  ASSERT_FALSE(server.flush());
  expect_as_on_the_page("request descriptor", channel.requests.data(), PENSTOCK_DESCRIPTOR_BYTES);
  expect_as_on_the_page("request head", channel.server_arena.data(), text_at);

  ASSERT_TRUE(worker.next(heard));
  const std::pair<std::string_view, std::string_view> fields[] = {{"Content-Type", "text/plain"}};
  ASSERT_TRUE(worker.send_head(exchange, {.length = 3, .fields = fields}, "hi\n", true));
  ASSERT_FALSE(worker.flush());
  expect_as_on_the_page("response descriptor", &channel.responses[1], PENSTOCK_DESCRIPTOR_BYTES);
  const penstock_descriptor& answer = channel.responses[1];
  expect_as_on_the_page("response head and body", channel.worker_arena.data(), answer.head_bytes + answer.body_bytes);
  ASSERT_TRUE(server.next(event));
  EXPECT_EQ(event.body, "hi\n");

  ASSERT_FALSE(server.request_room().empty());
  const Handle second = server.begin({.serial = 8, .head_bytes = text_at, .length = 0});
  ASSERT_FALSE(server.flush());
  ASSERT_TRUE(worker.next(heard));
  constexpr std::string_view VARY[] = {"Accept"};
  constexpr std::string_view TAGS[] = {"hi"};
  const WorkerPolicy policy{.revalidate_ms = 2'000, .error_ms = 3'000, .vary = VARY, .tags = TAGS};
  ASSERT_TRUE(
      worker.send_head(second, {.ttl_ms = 1'000, .length = 3, .fields = fields, .policy = &policy}, "hi\n", true));
  ASSERT_FALSE(worker.flush());
  const penstock_descriptor& kept = channel.responses[2];
  EXPECT_EQ(kept.ttl_ms, 1'000U);
  expect_as_on_the_page("response head with a policy", channel.worker_arena.data() + kept.head_at, kept.head_bytes);
  ASSERT_TRUE(server.next(event));
  EXPECT_EQ(event.policy->tags.at(0), "hi");

  ASSERT_FALSE(server.request_room().empty());
  const Handle third = server.begin({.kind = PENSTOCK_FILTER_REQUEST, .serial = 9, .head_bytes = text_at, .length = 0});
  ASSERT_FALSE(server.flush());
  ASSERT_TRUE(worker.next(heard));
  expect_as_on_the_page("filter descriptor", &channel.requests[2], PENSTOCK_DESCRIPTOR_BYTES);
  const WorkerEdit edits[] = {{.what = PENSTOCK_EDIT_SET, .name = "X-Who", .value = "me"}};
  ASSERT_TRUE(worker.send_verdict(third, {.wants = PENSTOCK_WANTS_LOG, .target = "/ho", .log = "new", .edits = edits}));
  ASSERT_FALSE(worker.flush());
  const penstock_descriptor& verdict = channel.responses[3];
  expect_as_on_the_page("verdict descriptor", &verdict, PENSTOCK_DESCRIPTOR_BYTES);
  expect_as_on_the_page("verdict", channel.worker_arena.data() + verdict.head_at, verdict.head_bytes);
  ASSERT_TRUE(server.next(event));
  EXPECT_EQ(event.verdict->edits.at(0).value, "me");
}

}  // namespace
}  // namespace penstock
