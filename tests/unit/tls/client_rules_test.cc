#include "src/tls/client_rules.h"

#include "src/tls/tls_session.h"
#include "tests/support/test_authority.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

using test::certificate_of;
using test::IssueOptions;
using test::TEST_DAY_S;
using test::TEST_NOW_S;
using test::TestAuthority;
using test::TlsClient;

class Rules {
 public:
  Rules(std::vector<std::string> authorities, std::vector<std::string> revocations = {})
      : authorities_(std::move(authorities)), revocations_(std::move(revocations)) {
    source.id = 7;
    source.depth = 3;
    for (const std::string& one : authorities_) source.authorities.push_back({"ca.pem", one});
    for (const std::string& one : revocations_) source.revocations.push_back({"list.pem", one});
  }
  Rules(const Rules&) = delete;
  Rules& operator=(const Rules&) = delete;

  ClientVerdict judge(const std::string& pem, const std::vector<const TestAuthority*>& others = {},
                      int64_t now_s = TEST_NOW_S) const {
    const auto rules = make_client_rules(source);
    if (!rules) return ClientVerdict::UNCHECKED;
    const OpensslPointer<STACK_OF(X509)> chain(sk_X509_new_null());
    for (const TestAuthority* one : others) {
      X509_up_ref(one->x509());
      sk_X509_push(chain.get(), one->x509());
    }
    return judge_client(rules->store.get(), certificate_of(pem).get(), chain.get(), now_s);
  }
  std::string error() const {
    const auto rules = make_client_rules(source);
    return rules ? "" : rules.error().message;
  }

  ClientRulesSource source;

 private:
  std::vector<std::string> authorities_;
  std::vector<std::string> revocations_;
};

TEST(ClientRules, each_fault_of_a_certificate_has_its_own_reason) {
  const TestAuthority root("root");
  const TestAuthority stranger("root");  // the same name, another key
  const Rules rules({root.certificate()}, {root.revoke({13})});
  EXPECT_EQ(rules.judge(root.issue({}).certificate), ClientVerdict::GOOD);
  EXPECT_EQ(rules.judge(root.issue({.serial = 13}).certificate), ClientVerdict::REVOKED);
  EXPECT_EQ(rules.judge(root.issue({.until_s = TEST_NOW_S - 1}).certificate), ClientVerdict::EXPIRED);
  EXPECT_EQ(rules.judge(root.issue({.from_s = TEST_NOW_S + 1}).certificate), ClientVerdict::EXPIRED);
  EXPECT_EQ(rules.judge(stranger.issue({}).certificate), ClientVerdict::UNTRUSTED);
  EXPECT_EQ(rules.judge(root.issue({.purpose = "serverAuth"}).certificate), ClientVerdict::UNTRUSTED);
  EXPECT_EQ(rules.judge(test::make_test_pair("self").certificate), ClientVerdict::UNTRUSTED);
}

TEST(ClientRules, a_chain_is_no_longer_than_allowed_and_revoked_as_a_whole) {
  const TestAuthority root("root");
  const TestAuthority first("first", &root);
  const TestAuthority second("second", &first);
  const std::string client = second.issue({}).certificate;
  Rules rules({root.certificate()});
  EXPECT_EQ(rules.judge(client), ClientVerdict::UNTRUSTED);  // nobody showed the issuers
  EXPECT_EQ(rules.judge(client, {&first, &second}), ClientVerdict::GOOD);
  rules.source.depth = 2;
  EXPECT_EQ(rules.judge(client, {&first, &second}), ClientVerdict::GOOD);
  rules.source.depth = 1;
  EXPECT_EQ(rules.judge(client, {&first, &second}), ClientVerdict::UNTRUSTED);

  const Rules none_revoked({root.certificate()}, {root.revoke({}), first.revoke({}), second.revoke({})});
  EXPECT_EQ(none_revoked.judge(client, {&first, &second}), ClientVerdict::GOOD);
  const Rules issuer_revoked({root.certificate()}, {root.revoke({1}), first.revoke({}), second.revoke({})});
  EXPECT_EQ(issuer_revoked.judge(client, {&first, &second}), ClientVerdict::REVOKED);
}

TEST(ClientRules, whoever_is_named_is_trusted_be_it_a_root_or_not) {
  const TestAuthority root("root");
  const TestAuthority first("first", &root);
  const Rules rules({first.certificate()}, {first.revoke({13})});
  EXPECT_EQ(rules.judge(first.issue({}).certificate), ClientVerdict::GOOD);
  EXPECT_EQ(rules.judge(first.issue({.serial = 13}).certificate), ClientVerdict::REVOKED);
  EXPECT_EQ(rules.judge(root.issue({}).certificate), ClientVerdict::UNTRUSTED);
}

TEST(ClientRules, without_a_list_in_force_nobody_passes_for_not_revoked) {
  const TestAuthority root("root");
  const TestAuthority other("other");
  const std::string client = root.issue({}).certificate;
  EXPECT_EQ(Rules({root.certificate()}, {other.revoke({})}).judge(client), ClientVerdict::UNCHECKED);
  EXPECT_EQ(Rules({root.certificate()}, {root.revoke({}, TEST_NOW_S - 1)}).judge(client), ClientVerdict::UNCHECKED);
  EXPECT_EQ(Rules({root.certificate()}, {root.revoke({}, TEST_NOW_S + 1, true)}).judge(client),
            ClientVerdict::GOOD);  // DER
}

TEST(ClientRules, a_subject_that_is_too_long_is_refused_and_never_cut) {
  const TestAuthority root("root");
  const Rules rules({root.certificate()});
  EXPECT_EQ(rules.judge(root.issue({.subject = std::string(900, 'x')}).certificate), ClientVerdict::GOOD);
  EXPECT_EQ(rules.judge(root.issue({.subject = std::string(1'000, 'x')}).certificate), ClientVerdict::UNTRUSTED);
}

TEST(ClientRules, subjects_are_escaped) {
  const TestAuthority root("root");
  const auto certificate = certificate_of(root.issue({.subject = "a,b\r\nSSL_X: \xc3\xa4\""}).certificate);
  EXPECT_EQ(subject_of_client(certificate.get()), "CN=a\\,b\\0D\\0ASSL_X: \\C3\\A4\\\",O=penstock");
  EXPECT_EQ(fingerprint_of_client(certificate.get()).size(), 64U);
}

TEST(ClientRules, a_file_that_is_broken_is_named) {
  const TestAuthority root("root");
  EXPECT_EQ(Rules({"nothing"}).error(), "ca.pem: holds no certificate in PEM");
  EXPECT_EQ(Rules({root.certificate() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"})
                .error()
                .find("ca.pem: one of its certificates is broken"),
            0U);
  EXPECT_EQ(Rules({root.certificate()}, {""}).error(), "list.pem: holds no revocation list");
  EXPECT_EQ(Rules({root.certificate()}, {"\x30\x03xyz"}).error().find("list.pem: its revocation list is broken"), 0U);
  EXPECT_EQ(Rules({root.certificate()}, {root.certificate()}).error(), "list.pem: holds no revocation list");
}

// --- sessions -------------------------------------------------------------------------------

// A server with two sites, and one client at a time.
class ClientSession : public ::testing::TestWithParam<int> {
 protected:
  ClientSession() {
    TicketKey key{};
    tickets.set({&key, 1});
    install(first.revoke({13}, TEST_NOW_S + 50 * TEST_DAY_S), true);
    auto made = TlsContext::make(store, tickets, live, {"http/1.1"});
    context = std::move(*made);
  }
  void install(const std::string& list, bool requires_one) {
    Rules& rules = *kept.emplace_back(
        std::make_unique<Rules>(std::vector<std::string>{root.certificate()},
                                std::vector<std::string>{root.revoke({}, TEST_NOW_S + 50 * TEST_DAY_S), list}));
    rules.source.requires_one = requires_one;
    store.replace(
        make_test_table({{"open", {"open.example"}, {pair}}, {"site", {"site.example"}, {pair}, rules.source}}, keys));
  }

  // The handshake of `options`, until both are done and the client has read its ticket.
  void connect(test::TlsClientOptions options) {
    options.server_name = options.server_name.empty() ? "SITE.example" : options.server_name;
    options.version_min = options.version_max = GetParam();
    client.emplace(options);
    out.clear(pool);
    session.emplace(*context, pool, out, TEST_NOW_S);
    auto step = TlsSession::Step::MORE;
    for (int i = 0; i < 8; ++i) {
      client->step();
      const std::string up = client->take_output();
      session->lend(up);
      if (step != TlsSession::Step::DONE) step = session->handshake();
      session->lend({});
      for (const auto& block : out.blocks()) client->feed({block->data, block->used});
      out.clear(pool);
    }
    ASSERT_EQ(step, TlsSession::Step::DONE) << reason_info(session->reason()).name;
    ASSERT_TRUE(client->done());
    ASSERT_TRUE(session->write(std::string_view("x")));
    for (const auto& block : out.blocks()) client->feed({block->data, block->used});
    out.clear(pool);
    EXPECT_EQ(client->read(1), "x");
  }
  struct FreeSession {
    void operator()(SSL_SESSION* s) const { SSL_SESSION_free(s); }
  };
  using Saved = std::unique_ptr<SSL_SESSION, FreeSession>;
  [[nodiscard]] Saved save() const { return Saved(SSL_SESSION_dup(SSL_get0_session(client->ssl()))); }

  TestAuthority root{"root"};
  TestAuthority first{"first", &root};
  test::TestPair good = first.issue({.subject = "anna"});
  test::TestPair pair = test::make_test_pair("site.example");
  test::TlsClientOptions with_good{.certificate = good.certificate + first.certificate(), .key = good.key};
  std::vector<std::unique_ptr<Rules>> kept;  // a table shows what is theirs
  test::TestKeys keys;
  CertificateStore store{keys};
  TicketKeys tickets;
  TlsLive live;
  std::unique_ptr<TlsContext> context;
  CipherPool pool;
  CipherChain out;
  std::optional<TlsClient> client;
  std::optional<TlsSession> session;
};

TEST_P(ClientSession, tells_who_the_client_is) {
  connect(with_good);
  EXPECT_EQ(session->client_rules(), 7U);
  EXPECT_EQ(session->client_refused(TEST_NOW_S), Reason::NONE);
  EXPECT_EQ(session->client_subject(), "CN=anna,O=penstock");
  EXPECT_EQ(session->client_fingerprint(), fingerprint_of_client(certificate_of(good.certificate).get()));
  EXPECT_EQ(session->server_name(), "site.example");
  EXPECT_EQ(session->client_refused(TEST_NOW_S + 2 * TEST_DAY_S), Reason::CLIENT_CERTIFICATE_EXPIRED);
}

TEST_P(ClientSession, a_bad_certificate_or_none_gets_through_the_handshake) {
  const test::TestPair revoked = first.issue({.serial = 13});
  connect({.certificate = revoked.certificate + first.certificate(), .key = revoked.key});
  EXPECT_EQ(session->client_refused(TEST_NOW_S), Reason::CLIENT_CERTIFICATE_REVOKED);
  EXPECT_EQ(session->client_subject(), "CN=client,O=penstock");
  connect({});
  EXPECT_EQ(session->client_rules(), 7U);
  EXPECT_EQ(session->client_fingerprint(), "");
}

TEST_P(ClientSession, nobody_is_asked_where_the_site_has_no_rules) {
  test::TlsClientOptions options = with_good;
  options.server_name = "open.example";
  connect(options);
  EXPECT_EQ(session->client_rules(), 0U);
  EXPECT_EQ(session->client_fingerprint(), "");
}

TEST_P(ClientSession, a_resumed_session_keeps_the_identity_with_its_chain) {
  connect(with_good);
  for (int i = 0; i < 2; ++i) {  // a ticket out of a resumed session is as good
    const Saved saved = save();
    connect({.session = saved.get()});
    EXPECT_TRUE(session->resumed());
    EXPECT_EQ(session->client_subject(), "CN=anna,O=penstock");
    EXPECT_EQ(session->client_rules(), 7U);
    EXPECT_EQ(session->client_refused(TEST_NOW_S), Reason::NONE);
    EXPECT_EQ(session->server_name(), "site.example");
  }
}

TEST_P(ClientSession, who_was_revoked_meanwhile_is_not_resumed) {
  connect(with_good);
  const Saved saved = save();
  install(first.revoke({100}), true);
  EXPECT_EQ(session->client_refused(TEST_NOW_S), Reason::CLIENT_CERTIFICATE_REVOKED);  // nor goes on
  test::TlsClientOptions again = with_good;
  again.session = saved.get();
  connect(again);
  EXPECT_FALSE(session->resumed());
  EXPECT_EQ(session->client_refused(TEST_NOW_S), Reason::CLIENT_CERTIFICATE_REVOKED);
}

TEST_P(ClientSession, without_a_certificate_is_not_resumed_where_one_is_required) {
  connect({});
  Saved saved = save();
  test::TlsClientOptions again = with_good;
  again.session = saved.get();
  connect(again);
  EXPECT_FALSE(session->resumed());
  EXPECT_EQ(session->client_subject(), "CN=anna,O=penstock");
  install(first.revoke({}), false);
  connect({});
  saved = save();
  connect({.session = saved.get()});
  EXPECT_TRUE(session->resumed());
}

TEST_P(ClientSession, a_session_of_a_site_without_rules_is_worth_nothing_at_one_with) {
  connect({.server_name = "open.example"});
  Saved saved = save();
  test::TlsClientOptions again = with_good;
  again.session = saved.get();
  connect(again);
  EXPECT_FALSE(session->resumed());
  EXPECT_EQ(session->client_subject(), "CN=anna,O=penstock");
  saved = save();
  connect({.server_name = "open.example", .session = saved.get()});
  EXPECT_FALSE(session->resumed());
  EXPECT_EQ(session->client_rules(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Versions, ClientSession, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& one) { return one.param == TLS1_2_VERSION ? "tls12" : "tls13"; });

}  // namespace
}  // namespace penstock
