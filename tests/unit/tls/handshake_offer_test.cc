// Groups and compressions of certificates: what is known, what is refused, and what handshakes make of it at once.
#include "src/tls/handshake_offer.h"

#include "src/tls/tls_session.h"
#include "tests/support/tls_world.h"

#include <gtest/gtest.h>
#include <openssl/obj_mac.h>

namespace penstock {
namespace {

using Names = std::vector<std::string>;

std::string groups(const Names& names) {
  const auto list = offer_groups(names);
  return list ? *list : "! " + list.error().message;
}

void expect_words(const std::string& text, const Names& words) {
  for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << text << "\nhas no " << word;
}

TEST(HandshakeOffer, groups_that_are_known_are_taken_in_their_order) {
  EXPECT_EQ(groups({"X25519", "P-256", "P-384"}), HandshakeOffer{}.groups);
  EXPECT_EQ(groups({"P-521", "?X25519"}), "P-521:X25519");
  EXPECT_EQ(groups({"?no-such-group", "P-256"}), "P-256");
}

TEST(HandshakeOffer, a_group_that_is_not_known_is_named_beside_those_that_are) {
  expect_words(groups({"X25519", "X25519MLKEM9999"}),
               {"! expected groups that OpenSSL 3.", "(X25519, P-256, P-384, P-521", "got \"X25519MLKEM9999\"",
                "with a ? before it"});
  expect_words(groups({"?no-such-group", "?nor-this"}), {"! expected at least one group", "X25519, P-256"});
}

TEST(HandshakeOffer, compressions_are_taken_as_far_as_the_library_has_them) {
  const std::string known = known_compressions();
  for (const std::string name : {"zlib", "brotli", "zstd"}) {
    const auto firm = offer_compressions(Names{name});
    const auto asked = offer_compressions(Names{"?" + name});
    ASSERT_TRUE(asked.has_value());
    const bool is_known = known.find(name) != std::string::npos;
    EXPECT_EQ(firm.has_value(), is_known);
    EXPECT_EQ(asked->size(), is_known ? 1U : 0U);
    if (!firm) expect_words(firm.error().message, {"expected compressions that OpenSSL 3.", "(" + known + ")", name});
  }
  EXPECT_TRUE(offer_compressions({}).value().empty());
}

// A handshake with a client that takes compressed certificates where its library does.
struct Outcome {
  bool done = false;
  int group = 0;
  bool compressed = false;  // the certificate came in a CompressedCertificate message
};

Outcome shake(test::TlsParts& parts, const char* client_groups = "X25519:P-384") {
  Outcome outcome;
  test::TlsClient client({.server_name = "example.org", .version_min = TLS1_3_VERSION});
  SSL_ctrl(client.ssl(), SSL_CTRL_SET_GROUPS_LIST, 0, const_cast<char*>(client_groups));
  SSL_set_msg_callback(client.ssl(), [](int out, int, int type, const void* bytes, size_t size, SSL*, void* to) {
    constexpr unsigned char COMPRESSED_CERTIFICATE = 25;  // RFC 8879 section 4
    const bool is_message = out == 0 && type == SSL3_RT_HANDSHAKE && size > 0;
    if (!is_message || *static_cast<const unsigned char*>(bytes) != COMPRESSED_CERTIFICATE) return;
    static_cast<Outcome*>(to)->compressed = true;
  });
  SSL_ctrl(client.ssl(), SSL_CTRL_SET_MSG_CALLBACK_ARG, 0, &outcome);
  CipherPool pool;
  CipherChain out;
  TlsSession session(*parts.context, pool, out, 1'800'000'000);
  auto step = TlsSession::Step::MORE;
  for (int i = 0; i < 4 && step == TlsSession::Step::MORE; ++i) {
    client.step();
    const std::string said = client.take_output();
    session.lend(said);
    step = session.handshake();
    session.lend({});
    for (const auto& block : out.blocks()) client.feed({block->data, block->used});
    out.clear(pool);
  }
  outcome.done = step == TlsSession::Step::DONE && client.done();
  outcome.group = static_cast<int>(SSL_ctrl(client.ssl(), SSL_CTRL_GET_NEGOTIATED_GROUP, 0, nullptr));
  return outcome;
}

TEST(HandshakeOffer, a_change_holds_from_the_next_handshake_on) {
  test::TlsParts parts;
  EXPECT_EQ(shake(parts).group, NID_X25519);
  parts.live.offer.set({.groups = "P-384", .compressions = {}});
  EXPECT_EQ(shake(parts).group, NID_secp384r1);
  EXPECT_FALSE(shake(parts, "X25519").done) << "there is nothing in common";
  parts.live.offer.set({});
  EXPECT_TRUE(shake(parts, "X25519").done);
}

TEST(HandshakeOffer, certificates_are_compressed_where_both_ends_can) {
  test::TlsParts parts;
  // One that gets shorter by it: what does not is sent as it is.
  const test::TestPair pair = test::make_test_pair(std::string(64, 'a'));
  parts.store.replace(test::make_test_table({{"site", {"*"}, {pair}}}, parts.keys));
  EXPECT_FALSE(shake(parts).compressed);
  const auto all = offer_compressions(Names{"?zlib", "?brotli", "?zstd"});
  ASSERT_TRUE(all.has_value());
  for (int again = 0; again < 2; ++again) {
    parts.live.offer.set({.compressions = *all});
    const Outcome outcome = shake(parts);
    EXPECT_TRUE(outcome.done);
    EXPECT_EQ(outcome.compressed, !all->empty());
  }
  parts.live.offer.set({});
  EXPECT_FALSE(shake(parts).compressed);
  if (all->empty()) GTEST_SKIP() << "OpenSSL compresses certificates from 3.2 on; this one's went on without";
}

}  // namespace
}  // namespace penstock
