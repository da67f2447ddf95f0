#include "src/tls/remote_key.h"

#include "tests/unit/tls/tls_world.h"

#include <gtest/gtest.h>
#include <map>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <set>

namespace penstock {
namespace {

Owned<SSL_CTX> client_context(int version, const char* sigalgs = nullptr) {
  Owned<SSL_CTX> out(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(out.get(), version);
  SSL_CTX_set_max_proto_version(out.get(), version);
  if (sigalgs != nullptr) {
    EXPECT_EQ(SSL_CTX_set1_sigalgs_list(out.get(), sigalgs), 1);
  }
  return out;
}

struct Scheme {
  const char* key;
  int version;
  const char* sigalg;
};
constexpr Scheme SCHEMES[] = {
    {"rsa", TLS1_3_VERSION, "rsa_pss_rsae_sha256"},
    {"rsa", TLS1_3_VERSION, "rsa_pss_rsae_sha384"},
    {"rsa3072", TLS1_3_VERSION, "rsa_pss_rsae_sha512"},
    {"p256", TLS1_3_VERSION, "ecdsa_secp256r1_sha256"},
    {"p384", TLS1_3_VERSION, "ecdsa_secp384r1_sha384"},
    {"p521", TLS1_3_VERSION, "ecdsa_secp521r1_sha512"},
    {"ed25519", TLS1_3_VERSION, "ed25519"},
    {"rsa", TLS1_2_VERSION, "RSA+SHA256"},
    {"rsa", TLS1_2_VERSION, "RSA+SHA384"},
    {"rsa", TLS1_2_VERSION, "RSA+SHA512"},
    {"rsa", TLS1_2_VERSION, "rsa_pss_rsae_sha256"},
    {"p256", TLS1_2_VERSION, "ECDSA+SHA256"},
    {"p256", TLS1_2_VERSION, "ECDSA+SHA384"},
    {"p384", TLS1_2_VERSION, "ECDSA+SHA384"},
    {"ed25519", TLS1_2_VERSION, "ed25519"},
};

// The client checks the signature with the public key of the certificate: it fails the handshake otherwise.
TEST(RemoteKey, every_scheme_that_is_offered_completes_a_handshake) {
  std::map<std::string, UniquePkey> made;  // RSA keys take long to make
  for (const Scheme& scheme : SCHEMES) {
    RemoteWorld world;
    UniquePkey& key = made[scheme.key];
    if (key == nullptr) key = make_test_key(scheme.key);
    world.signer.add(load_test_key(key.get()));
    const TestKeyd keyd(world.ends, world.signer);
    const auto server = world.server_context(key.get());
    const auto client = client_context(scheme.version, scheme.sigalg);
    Pair pair(server.get(), client.get());
    pair.wait.bind(world.channel, 1);
    EXPECT_TRUE(finish(pair, world.channel))
        << scheme.key << " " << scheme.sigalg << " " << ERR_error_string(ERR_peek_error(), nullptr);
    EXPECT_EQ(world.signer.asked.load(), 1U) << scheme.sigalg;
    EXPECT_EQ(world.channel.waiting(), 0U);
  }
}

TEST(RemoteKey, whoever_does_not_ask_for_it_gets_openssl_s_own_keys) {
  RemoteWorld world;
  for (const char* name : {"RSA", "EC", "ED25519"}) {
    EVP_KEYMGMT* plain = EVP_KEYMGMT_fetch(world.context.get(), name, nullptr);
    ASSERT_NE(plain, nullptr);
    EXPECT_STREQ(OSSL_PROVIDER_get0_name(EVP_KEYMGMT_get0_provider(plain)), "default");
    EVP_KEYMGMT_free(plain);
  }
}

TEST(RemoteKey, has_no_private_half_to_give) {
  RemoteWorld world;
  const UniquePkey key = make_test_key("p256");
  auto remote = world.remote_key(key.get());
  ASSERT_TRUE(remote.has_value());
  OSSL_PARAM* params = nullptr;
  EXPECT_NE(EVP_PKEY_todata(remote->get(), EVP_PKEY_KEYPAIR, &params), 1);
  EXPECT_EQ(EVP_PKEY_todata(remote->get(), EVP_PKEY_PUBLIC_KEY, &params), 1);
  OSSL_PARAM_free(params);
  EXPECT_EQ(EVP_PKEY_eq(remote->get(), key.get()), 1);
  EXPECT_NE(EVP_PKEY_eq(remote->get(), make_test_key("p256").get()), 1);
  ERR_clear_error();
}

TEST(RemoteKey, decrypts_nothing_and_signs_nothing_outside_of_a_handshake) {
  RemoteWorld world;
  const UniquePkey key = make_test_key("rsa");
  world.signer.add(load_test_key(key.get()));
  auto remote = world.remote_key(key.get());
  ASSERT_TRUE(remote.has_value());
  EVP_PKEY_CTX* decrypt = EVP_PKEY_CTX_new_from_pkey(world.context.get(), remote->get(), nullptr);
  EXPECT_NE(EVP_PKEY_decrypt_init(decrypt), 1);
  EVP_PKEY_CTX_free(decrypt);
  EVP_MD_CTX* sign = EVP_MD_CTX_new();
  ASSERT_EQ(EVP_DigestSignInit_ex(sign, nullptr, "SHA256", world.context.get(), nullptr, remote->get(), nullptr), 1);
  const auto content = tls13_content();
  unsigned char out[512];
  size_t size = sizeof out;
  EXPECT_NE(EVP_DigestSign(sign, out, &size, content.data(), content.size()), 1);
  EVP_MD_CTX_free(sign);
  ERR_clear_error();
}

TEST(RemoteKey, kinds_that_are_not_served_are_refused) {
  RemoteWorld world;
  for (const char* kind : {"rsa1024", "secp256k1"}) {
    EXPECT_FALSE(world.remote_key(make_test_key(kind).get()).has_value()) << kind;
  }
}

TEST(RemoteKey, a_refused_signature_fails_the_handshake_and_says_why) {
  RemoteWorld world;
  const UniquePkey key = make_test_key("p256");
  world.signer.add(load_test_key(make_test_key("p256").get()));
  const TestKeyd keyd(world.ends, world.signer);
  const auto server = world.server_context(key.get());
  const auto client = client_context(TLS1_3_VERSION);
  Pair pair(server.get(), client.get());
  pair.wait.bind(world.channel, 1);
  EXPECT_FALSE(finish(pair, world.channel));
  EXPECT_EQ(pair.server_error, SSL_ERROR_SSL);
  EXPECT_EQ(pair.wait.status(), KeyStatus::MISMATCH);
  ERR_clear_error();
}

// More at once than there are slots, on one thread, each answered with its own signature.
TEST(RemoteKey, many_handshakes_wait_at_once) {
  constexpr size_t PAIRS = 3 * KEY_SLOTS;
  RemoteWorld world;
  const UniquePkey key = make_test_key("p256");
  world.signer.add(load_test_key(key.get()));
  const auto server = world.server_context(key.get());
  const auto client = client_context(TLS1_3_VERSION);
  std::vector<std::unique_ptr<Pair>> pairs;
  for (size_t i = 0; i < PAIRS; ++i) {
    pairs.push_back(std::make_unique<Pair>(server.get(), client.get()));
    pairs.back()->wait.bind(world.channel, i);
    EXPECT_FALSE(pairs.back()->step());
    EXPECT_EQ(pairs.back()->server_error, SSL_ERROR_WANT_ASYNC);
  }
  EXPECT_EQ(world.channel.waiting(), PAIRS);
  const TestKeyd keyd(world.ends, world.signer);
  std::array<uint64_t, KEY_SLOTS> tokens{};
  std::set<uint64_t> seen;
  while (seen.size() < PAIRS) {
    wait_bell(world.channel);
    const size_t count = world.channel.collect(tokens);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_TRUE(seen.insert(tokens[i]).second);
      EXPECT_TRUE(pairs[tokens[i]]->step()) << tokens[i];
    }
  }
  EXPECT_EQ(world.channel.waiting(), 0U);
  EXPECT_EQ(world.signer.asked.load(), PAIRS);
}

TEST(RemoteKey, who_gives_up_takes_nothing_with_him) {
  RemoteWorld world;
  const UniquePkey key = make_test_key("p256");
  world.signer.add(load_test_key(key.get()));
  const auto server = world.server_context(key.get());
  const auto client = client_context(TLS1_3_VERSION);
  std::array<uint64_t, KEY_SLOTS> tokens{};
  for (size_t i = 0; i < 2 * KEY_SLOTS; ++i) {  // nobody signs: all are given up
    Pair pair(server.get(), client.get());
    pair.wait.bind(world.channel, i);
    EXPECT_FALSE(pair.step());
  }
  EXPECT_EQ(world.channel.waiting(), KEY_SLOTS);  // sent and not answered
  const TestKeyd keyd(world.ends, world.signer);
  while (world.channel.waiting() != 0) {
    wait_bell(world.channel);
    EXPECT_EQ(world.channel.collect(tokens), 0U);
  }
  Pair pair(server.get(), client.get());
  pair.wait.bind(world.channel, 7);
  EXPECT_TRUE(finish(pair, world.channel));
}

TEST(RemoteKey, one_too_many_fails_at_once_and_is_counted) {
  constexpr size_t MAX = KEY_SLOTS + KeyChannel::WAITING_MAX;
  RemoteWorld world;
  std::vector<std::unique_ptr<KeyWait>> waits;
  const KeyRequest request = sign_request({}, 0x0403, tls13_content());
  for (size_t i = 0; i < MAX; ++i) {
    waits.push_back(std::make_unique<KeyWait>());
    waits.back()->bind(world.channel, i);
    ASSERT_TRUE(waits.back()->begin(request));
  }
  KeyWait late;
  late.bind(world.channel, MAX);
  EXPECT_FALSE(late.begin(request));
  EXPECT_TRUE(late.overloaded());
  EXPECT_EQ(world.channel.overloaded(), 1U);
  waits[MAX - 1]->cancel();
  EXPECT_TRUE(late.begin(request));
  EXPECT_FALSE(late.overloaded());
  late.cancel();
  for (auto& wait : waits) wait->cancel();
  EXPECT_EQ(world.channel.waiting(), KEY_SLOTS);
}

// What was under way when a keyd died is signed by the next one.
TEST(RemoteKey, a_new_keyd_signs_what_the_old_one_left) {
  RemoteWorld world;
  const UniquePkey key = make_test_key("p256");
  world.signer.add(load_test_key(key.get()));
  const auto server = world.server_context(key.get());
  const auto client = client_context(TLS1_3_VERSION);
  Pair pair(server.get(), client.get());
  pair.wait.bind(world.channel, 1);
  {
    world.signer.later.store(true);
    const TestKeyd first(world.ends, world.signer);
    EXPECT_FALSE(pair.step());
    while (world.signer.asked.load() == 0) std::this_thread::yield();
  }
  EXPECT_TRUE(pair.wait.waiting());
  world.signer.later.store(false);
  const TestKeyd second(world.ends, world.signer);
  EXPECT_TRUE(finish(pair, world.channel));
}

TEST(RemoteKey, what_waits_for_a_key_is_asked_again_when_it_was_read) {
  RemoteWorld world;
  const UniquePkey key = make_test_key("p256");
  world.signer.add(load_test_key(key.get()));
  world.signer.later.store(true);
  TestKeyd keyd(world.ends, world.signer);
  const auto server = world.server_context(key.get());
  const auto client = client_context(TLS1_3_VERSION);
  Pair pair(server.get(), client.get());
  pair.wait.bind(world.channel, 1);
  EXPECT_FALSE(pair.step());
  while (world.signer.asked.load() == 0) std::this_thread::yield();
  world.signer.later.store(false);
  keyd.desk().wake();
  EXPECT_TRUE(finish(pair, world.channel));
}

TEST(RemoteKey, threads_do_not_meet) {
  RemoteWorld world;
  const UniquePkey key = make_test_key("p256");
  world.signer.add(load_test_key(key.get()));
  const auto server = world.server_context(key.get());
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      auto ends = create_key_channel();
      ASSERT_TRUE(ends.has_value());
      KeyChannel channel;
      ASSERT_TRUE(open_channel(channel, *ends).has_value());
      ASSERT_TRUE(prepare_key_thread().has_value());
      const TestKeyd keyd(*ends, world.signer);
      const auto client = client_context(TLS1_3_VERSION);
      for (int i = 0; i < 20; ++i) {
        Pair pair(server.get(), client.get());
        pair.wait.bind(channel, 1);
        done += finish(pair, channel) ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(done.load(), 80);
}

TEST(KeyChannel, a_check_says_what_keyd_says) {
  RemoteWorld world;
  const UniquePkey key = make_test_key("p256");
  world.signer.add(load_test_key(key.get()));
  const TestKeyd keyd(world.ends, world.signer);
  const auto right = key_name("/keys/a.pem", key.get());
  EXPECT_TRUE(check_key(world.channel, *right, "/keys/a.pem", seconds(30)).has_value());
  const auto wrong = key_name("/keys/a.pem", make_test_key("p256").get());
  const Status refused = check_key(world.channel, *wrong, "/keys/a.pem", seconds(30));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message,
            "key file /keys/a.pem does not belong to the certificate: their public keys differ (the file has another)");
}

TEST(KeyChannel, a_check_that_nobody_answers_ends) {
  RemoteWorld world;
  const Status refused = check_key(world.channel, {}, "/keys/a.pem", milliseconds(1));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, "key file /keys/a.pem cannot be checked: the key process does not answer");
}

}  // namespace
}  // namespace penstock
