// Which certificates are looked at before they are in force, and which later.
#include "src/tls/certificate_table.h"

#include "tests/support/hand_clock.h"
#include "tests/support/tls_world.h"

#include <functional>
#include <gtest/gtest.h>

namespace penstock::test {
namespace {

constexpr Duration PATIENCE = CertificateTable::START_PATIENCE;
constexpr size_t AT_ONCE = CertificateTable::CHECKED_AT_ONCE;
const TestPair BROKEN{.certificate = "no certificate", .key = "k"};

// Every key is the right one but that of `foreign`, and asking takes a while.
class SlowKeys final : public KeySource {
 public:
  explicit SlowKeys(HandClock& clock) : clock_(clock) {}
  Result<OpensslPointer<EVP_PKEY>> make(EVP_PKEY*, const std::string&) override { return fail("not here"); }
  Status probe(EVP_PKEY*, const std::string& file) override {
    clock_.advance(milliseconds(100));
    ++probes;
    if (file == foreign) return fail(file + " does not belong to the certificate");
    return {};
  }
  int probes = 0;
  std::string foreign;

 private:
  HandClock& clock_;
};

class CertificateTableTest : public testing::Test {
 protected:
  // `count` sites with a good pair each, but those in `broken`.
  std::unique_ptr<CertificateTable> table(size_t count, const std::vector<size_t>& broken) {
    static const TestPair good = make_test_pair("h.example");
    std::vector<TestSite> sites;
    for (size_t i = 0; i < count; ++i) sites.push_back({"s" + std::to_string(i) + "-", {}, {good}});
    for (const size_t i : broken) sites[i].pairs = {BROKEN};
    return make_test_table(sites, names_);
  }
  Status check(CertificateTable& table, const CertificateTable* before) {
    using Occasion = CertificateTable::Occasion;
    return table.check(before == nullptr ? Occasion::START : Occasion::CHANGE, before, keys_, clock_, notes_, between_);
  }
  static std::string problem(size_t site) {
    return "s" + std::to_string(site) + "-0.pem: holds no certificate in PEM; this certificate cannot be used";
  }

  HandClock clock_{MonoTime{1'000'000'000}, WallTime{1'000'000'000}};
  SlowKeys keys_{clock_};
  TestKeys names_;
  std::vector<std::string> notes_;
  std::function<bool()> between_;
};

TEST_F(CertificateTableTest, a_start_looks_at_hundreds_of_pairs_and_no_longer_than_its_patience_at_more) {
  const auto refused = table(AT_ONCE, {AT_ONCE - 1});
  EXPECT_FALSE(check(*refused, nullptr).has_value());
  EXPECT_EQ(keys_.probes, 5);  // its patience was over
  const auto started = table(AT_ONCE + 3, {AT_ONCE, AT_ONCE + 2});
  EXPECT_TRUE(check(*started, nullptr).has_value());
  EXPECT_TRUE(notes_.empty());
  EXPECT_TRUE(started->check_rest(clock_, Duration{0}, notes_)) << "one each time at least";
  EXPECT_EQ(notes_, std::vector<std::string>{problem(AT_ONCE)});
  EXPECT_FALSE(started->check_rest(clock_, PATIENCE, notes_));
  EXPECT_EQ(notes_, (std::vector<std::string>{problem(AT_ONCE), problem(AT_ONCE + 2)}));
  EXPECT_FALSE(started->check_rest(clock_, PATIENCE, notes_));
  EXPECT_EQ(notes_.size(), 2U);
}

TEST_F(CertificateTableTest, a_change_is_looked_at_whole_and_what_waits_goes_on_waiting) {
  const auto before = table(AT_ONCE + 1, {AT_ONCE});
  ASSERT_TRUE(check(*before, nullptr).has_value());
  EXPECT_FALSE(check(*table(AT_ONCE + 3, {AT_ONCE, AT_ONCE + 2}), before.get()).has_value()) << "a new pair is broken";
  const auto after = table(AT_ONCE + 3, {AT_ONCE});
  keys_.probes = 0;
  EXPECT_TRUE(check(*after, before.get()).has_value()) << "what was there before does not hinder it";
  EXPECT_EQ(keys_.probes, 2) << "of the two new ones";
  EXPECT_FALSE(after->check_rest(clock_, PATIENCE, notes_));
  EXPECT_EQ(notes_, std::vector<std::string>{problem(AT_ONCE)});
}

TEST_F(CertificateTableTest, a_start_puts_keys_off_and_a_change_refuses_the_last_one_that_is_foreign) {
  keys_.foreign = "s19-0.key";
  EXPECT_TRUE(check(*table(20, {}), nullptr).has_value());
  EXPECT_EQ(keys_.probes, 5) << "then its patience was over";
  const auto before = table(1, {});
  ASSERT_TRUE(check(*before, nullptr).has_value());
  keys_.probes = 0;
  const Status refused = check(*table(20, {}), before.get());
  EXPECT_EQ(keys_.probes, 19) << "all that are new";
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, "s19-0.key does not belong to the certificate");
  EXPECT_TRUE(notes_.empty());
}

// Each key takes 0.1 s: nearly a minute, in which the thread goes on with what else it has to do.
TEST_F(CertificateTableTest, the_last_of_thousands_that_are_new_hinders_them_all_however_long_it_takes) {
  constexpr size_t MANY = 500;
  const auto before = table(1, {});
  ASSERT_TRUE(check(*before, nullptr).has_value());
  keys_.probes = 0;
  keys_.foreign = "s" + std::to_string(MANY - 1) + "-0.key";
  size_t pauses = 0;
  between_ = [&pauses] { return ++pauses > 0; };
  const Status refused = check(*table(MANY, {}), before.get());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, keys_.foreign + " does not belong to the certificate");
  EXPECT_EQ(keys_.probes, static_cast<int>(MANY - 1));
  EXPECT_EQ(pauses, MANY - 2);
  EXPECT_TRUE(notes_.empty());
  // Where the configuration came with a server of its own nothing was in force, and it is a change all the same.
  EXPECT_FALSE(
      table(MANY, {})->check(CertificateTable::Occasion::CHANGE, nullptr, keys_, clock_, notes_, between_).has_value());
}

TEST_F(CertificateTableTest, a_change_is_given_up_where_its_thread_has_to_end) {
  const auto before = table(1, {});
  ASSERT_TRUE(check(*before, nullptr).has_value());
  keys_.probes = 0;
  between_ = [] { return false; };
  EXPECT_FALSE(check(*table(9, {}), before.get()).has_value());
  EXPECT_EQ(keys_.probes, 1);
}

}  // namespace
}  // namespace penstock::test
