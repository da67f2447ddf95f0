// The programs of pool/sdk/examples, executed.
#include "tests/unit/sdk/worker_process.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

class Hello : public WorkerProcess {
 protected:
  Hello() { program = PENSTOCK_HELLO; }
};

TEST_F(Hello, says_so_to_everybody) {
  for (const char* path : {"/", "/a/b?c=d"}) EXPECT_EQ(get(path), "hello\n");
  EXPECT_EQ(answers[serial].status, 200);
}

class Upload : public WorkerProcess {
 protected:
  Upload() { program = PENSTOCK_UPLOAD; }
  static std::string expected(const std::string& bytes) {
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return std::to_string(bytes.size()) + " bytes, hash " + std::to_string(hash) + "\n";
  }
};

TEST_F(Upload, hashes_what_it_is_sent) {
  EXPECT_EQ(get("/"), expected(""));
  EXPECT_EQ(get("/", "small"), expected("small"));
  std::string body(2'000'000, 0);
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * i >> 5);
  const Handle exchange = ask("/", {}, false, body.size());
  const uint64_t number = serial;
  size_t sent = 0;
  ASSERT_TRUE(until([&] {
    if (sent < body.size()) sent += link_->send_body(exchange, std::string_view(body).substr(sent), true);
    flush();
    return answers[number].ended;
  }));
  EXPECT_EQ(answers[number].body, expected(body));
}

TEST_F(Upload, survives_a_client_that_goes_in_the_middle) {
  const Handle exchange = ask("/", "begins", false, 1'000'000);
  const uint64_t number = serial;
  flush();
  link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  EXPECT_EQ(get("/", "next"), expected("next"));
}

}  // namespace
}  // namespace penstock
