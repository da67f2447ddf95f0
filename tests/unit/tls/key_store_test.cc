#include "src/tls/key_store.h"

#include "tests/support/hand_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/tls/tls_world.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

namespace penstock {
namespace {

class KeyStoreTest : public testing::Test {
 protected:
  void SetUp() override { store_.set_files({file_}); }

  void write_key(const std::string& text, mode_t mode = 0600) {
    dir_.write("key.pem", text);
    ASSERT_EQ(::chmod(file_.c_str(), mode), 0);
  }
  // What the supervisor does when it is asked.
  void deliver() {
    const UniqueFd fd(::open(file_.c_str(), O_RDONLY | O_CLOEXEC));
    const UniqueFd kept(::open(kept_.c_str(), O_RDONLY | O_CLOEXEC));
    store_.deliver(file_, fd.valid() ? Result<int>(fd.get()) : fail_errno("open"), kept.get(), notes_);
  }
  // The status of a probe for `key`, after one delivery if that is asked for. `later`: it was.
  KeyStatus probe(EVP_PKEY* key, bool* later = nullptr) {
    KeyRequest request;
    request.order = KeyOrder::PROBE;
    request.key = *key_name(file_, key);
    auto answer = store_.answer(request, out_);
    const bool waits = !answer && answer.error().later;
    if (later != nullptr) *later = waits;
    if (waits) {
      EXPECT_EQ(store_.take_wanted(), std::vector<std::string>{file_});
      deliver();
      answer = store_.answer(request, out_);
    }
    detail_ = answer ? "" : answer.error().detail;
    EXPECT_FALSE(!answer && answer.error().later);
    return answer ? KeyStatus::OK : answer.error().status;
  }

  // Whether it would sign with `key` now; what is asked for here it refuses to sign.
  bool holds(EVP_PKEY* key) {
    KeyRequest request;
    request.order = KeyOrder::SIGN;
    request.key = *key_name(file_, key);
    const auto answer = store_.answer(request, out_);
    return !answer && !answer.error().later && answer.error().status == KeyStatus::REFUSED;
  }

  TempDir dir_;
  std::string file_ = dir_.at("key.pem");
  std::string kept_ = dir_.at("kept.pem");  // what is in force, where it is another file; else there is none
  HandClock clock_;
  UniqueFd wanted_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  KeyStore store_{clock_, wanted_.get()};
  std::vector<std::string> notes_;
  std::string detail_;
  unsigned char out_[SIGNATURE_MAX];
};

TEST_F(KeyStoreTest, reads_a_key_once_when_it_is_first_asked_for) {
  const UniquePkey key = make_test_key("p256");
  write_key(pem_of(key.get()));
  EXPECT_EQ(store_.held(), 0U);
  bool later = false;
  EXPECT_EQ(probe(key.get(), &later), KeyStatus::OK);
  EXPECT_TRUE(later);
  EXPECT_EQ(probe(key.get(), &later), KeyStatus::OK);
  EXPECT_FALSE(later);
  EXPECT_EQ(store_.held(), 1U);
  EXPECT_TRUE(notes_.empty());
}

TEST_F(KeyStoreTest, asks_once_however_many_wait) {
  const UniquePkey key = make_test_key("p256");
  KeyRequest request;
  request.order = KeyOrder::PROBE;
  request.key = *key_name(file_, key.get());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(store_.answer(request, out_).error().later);
  EXPECT_EQ(store_.take_wanted().size(), 1U);
  EXPECT_TRUE(store_.take_wanted().empty());
}

TEST_F(KeyStoreTest, knows_the_configured_files_alone) {
  const UniquePkey key = make_test_key("p256");
  KeyRequest request;
  request.order = KeyOrder::PROBE;
  request.key = *key_name("/etc/shadow", key.get());
  const auto answer = store_.answer(request, out_);
  EXPECT_EQ(answer.error().status, KeyStatus::UNKNOWN);
  EXPECT_FALSE(answer.error().later);
  EXPECT_TRUE(store_.take_wanted().empty());
}

TEST_F(KeyStoreTest, says_what_is_wrong_with_a_file_once) {
  const UniquePkey key = make_test_key("p256");
  EXPECT_EQ(probe(key.get()), KeyStatus::UNREADABLE);
  EXPECT_EQ(detail_, "open: No such file or directory");
  write_key(pem_of(key.get(), "secret"));
  clock_.advance(KeyStore::AGAIN_AFTER);
  EXPECT_EQ(probe(key.get()), KeyStatus::ENCRYPTED);
  clock_.advance(KeyStore::AGAIN_AFTER);
  EXPECT_EQ(probe(key.get()), KeyStatus::ENCRYPTED);
  EXPECT_EQ(notes_, (std::vector<std::string>{
                        "key file " + file_ + " cannot be read (open: No such file or directory)",
                        "key file " + file_ +
                            " is encrypted; penstock cannot ask for a pass phrase, store the key without one"}));
  write_key(std::string(KeyStore::FILE_BYTES_MAX + 1, 'x'));
  clock_.advance(KeyStore::AGAIN_AFTER);
  EXPECT_EQ(probe(key.get()), KeyStatus::UNREADABLE);
  EXPECT_EQ(detail_, "it is larger than 64 KiB");
}

TEST_F(KeyStoreTest, warns_of_a_file_that_others_may_read) {
  const UniquePkey key = make_test_key("p256");
  write_key(pem_of(key.get()), 0640);
  EXPECT_EQ(probe(key.get()), KeyStatus::OK);
  write_key(pem_of(make_test_key("p256").get()), 0644);
  const UniquePkey next = make_test_key("p256");
  clock_.advance(KeyStore::AGAIN_AFTER);
  EXPECT_EQ(probe(next.get()), KeyStatus::MISMATCH);
  EXPECT_EQ(notes_,
            (std::vector<std::string>{
                "key file " + file_ + " is open to its group (mode 640); it should be its owner's alone (chmod 600)",
                "key file " + file_ + " is open to everybody (mode 644); it should be its owner's alone (chmod 600)"}));
}

// A certificate that was replaced asks for another key: the file is read again, and the old certificate's handshakes
// still end.
TEST_F(KeyStoreTest, follows_a_file_that_was_replaced) {
  const UniquePkey old = make_test_key("p256");
  const UniquePkey fresh = make_test_key("p384");
  write_key(pem_of(old.get()));
  EXPECT_EQ(probe(old.get()), KeyStatus::OK);
  write_key(pem_of(fresh.get()));
  EXPECT_EQ(probe(fresh.get()), KeyStatus::MISMATCH);  // read less than a second ago
  EXPECT_EQ(detail_, "the file holds EC prime256v1");
  clock_.advance(KeyStore::AGAIN_AFTER);
  EXPECT_TRUE(holds(old.get()));
  EXPECT_EQ(probe(fresh.get()), KeyStatus::OK);
  EXPECT_TRUE(holds(old.get()));
  EXPECT_TRUE(holds(fresh.get()));
  EXPECT_EQ(probe(old.get()), KeyStatus::MISMATCH) << "it is not what the file holds";
  EXPECT_EQ(store_.held(), 2U);
  EXPECT_LE(store_.expire(clock_.now()), clock_.now() + KeyStore::PREVIOUS_STAYS);
  clock_.advance(KeyStore::PREVIOUS_STAYS);
  EXPECT_EQ(store_.expire(clock_.now()), MonoTime::never());
  EXPECT_EQ(store_.held(), 1U);
}

TEST_F(KeyStoreTest, goes_on_with_what_it_has_while_a_file_is_broken) {
  const UniquePkey key = make_test_key("p256");
  write_key(pem_of(key.get()));
  EXPECT_EQ(probe(key.get()), KeyStatus::OK);
  write_key("half of a ke");
  clock_.advance(KeyStore::AGAIN_AFTER);
  EXPECT_EQ(probe(make_test_key("p256").get()), KeyStatus::MALFORMED);
  EXPECT_EQ(probe(key.get()), KeyStatus::MALFORMED) << "a probe is about the file";
  EXPECT_TRUE(holds(key.get()));
}

// keyd was started anew while a replaced file is tried: the pair in force must not wait for the end of that.
TEST_F(KeyStoreTest, has_the_key_in_force_beside_a_file_that_is_tried) {
  const UniquePkey key = make_test_key("p256");
  const UniquePkey fresh = make_test_key("p256");
  dir_.write("kept.pem", pem_of(key.get()));
  write_key("half of a ke");
  EXPECT_EQ(probe(fresh.get()), KeyStatus::MALFORMED) << "a probe is about the file";
  EXPECT_TRUE(holds(key.get()));
  write_key(pem_of(fresh.get()));
  clock_.advance(KeyStore::AGAIN_AFTER);
  EXPECT_EQ(probe(fresh.get()), KeyStatus::OK);
  EXPECT_TRUE(holds(key.get()));
  EXPECT_TRUE(holds(fresh.get()));
  EXPECT_EQ(store_.held(), 2U);
}

TEST_F(KeyStoreTest, forgets_keys_that_the_configuration_no_longer_names) {
  const UniquePkey key = make_test_key("p256");
  write_key(pem_of(key.get()));
  EXPECT_EQ(probe(key.get()), KeyStatus::OK);
  store_.set_files({"/keys/other.pem"});
  EXPECT_EQ(store_.held(), 0U);
  EXPECT_EQ(probe(key.get()), KeyStatus::UNKNOWN);
}

}  // namespace
}  // namespace penstock
