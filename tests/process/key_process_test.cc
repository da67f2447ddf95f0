// keyd as it is: the real binary in its sandbox. The test is its supervisor, and the server that it signs for.
#include "src/admin/key_messages.h"
#include "src/admin/role_process.h"
#include "src/base/clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/tls/tls_world.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/stat.h>

namespace penstock::test {
namespace {

class KeydTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_.write("key.pem", pem_of(key_.get()));
    ASSERT_EQ(::chmod(file_.c_str(), 0600), 0);
    start();
  }
  void TearDown() override {
    if (keyd_) keyd_->kill_and_wait();
  }

  void start() {
    auto process = RoleProcess::spawn(PENSTOCK_BINARY, "keyd", 1, MonoTime{});
    ASSERT_TRUE(process.has_value());
    keyd_ = std::make_unique<RoleProcess>(std::move(*process));
    RoleStart start;
    start.role = "keyd";
    start.as_root = ::geteuid() == 0;
    start.uid = start.gid = start.as_root ? 65119 : 0;
    ASSERT_TRUE(send_start(keyd_->channel, start).has_value());
    auto ready = keyd_->channel.receive_wait(seconds(30));
    ASSERT_TRUE(ready.has_value()) << ready.error().message;
    ASSERT_EQ(ready->kind, MessageKind::READY) << ready->payload;
    ready_ = *decode_ready(ready->payload);
    ASSERT_TRUE(send_key_files(keyd_->channel, {file_}).has_value());
    std::vector<UniqueFd> fds;
    KeyChannelEnds ends = duplicate(world_.ends);
    fds.push_back(std::move(ends.memory));
    fds.push_back(std::move(ends.bell));
    ASSERT_TRUE(send_key_channels(keyd_->channel, 7, fds).has_value());
  }

  // Waits for the bell of the channel, and does meanwhile what keyd asks of its supervisor. False: keyd has ended.
  bool wait_for_bell() {
    for (;;) {
      pollfd fds[] = {{.fd = world_.channel.wake_fd(), .events = POLLIN, .revents = 0},
                      {.fd = keyd_->channel.fd(), .events = POLLIN, .revents = 0}};
      if (::poll(fds, 2, 30'000) <= 0) return false;
      if (fds[1].revents != 0 && !serve_keyd()) return false;
      uint64_t count = 0;
      if (::read(world_.channel.wake_fd(), &count, sizeof count) > 0) return true;
    }
  }
  bool serve_keyd() {
    auto message = keyd_->channel.receive();
    if (!message) return false;
    if (!*message) return true;
    if ((*message)->kind == MessageKind::LOG) lines_.push_back((*message)->payload);
    if ((*message)->kind == MessageKind::KEY_BREACH) breaches_.push_back(decode_key_breach(**message)->what);
    if ((*message)->kind != MessageKind::KEY_NEED) return true;
    asked_.push_back((*message)->payload);
    KeyFile file{.file = (*message)->payload, .fd = UniqueFd(::open(file_.c_str(), O_RDONLY | O_CLOEXEC))};
    return send_key_file(keyd_->channel, file).has_value();
  }
  bool handshake(SSL_CTX* server) {
    Owned<SSL_CTX> client(SSL_CTX_new(TLS_client_method()));
    Pair pair(server, client.get());
    pair.wait.bind(world_.channel, 1);
    std::array<uint64_t, KEY_SLOTS> tokens{};
    while (!pair.step()) {
      if (pair.server_error != SSL_ERROR_WANT_ASYNC) return false;
      while (pair.wait.waiting()) {
        if (!wait_for_bell()) return false;
        (void)world_.channel.collect(tokens);
      }
    }
    return true;
  }
  Owned<SSL_CTX> server_context() {
    Owned<SSL_CTX> out(SSL_CTX_new_ex(world_.context.get(), nullptr, TLS_server_method()));
    const Owned<X509> certificate = make_test_certificate(key_.get());
    auto name = key_name(file_, key_.get());
    auto remote = world_.keys->make_key(key_.get(), *name);
    EXPECT_EQ(SSL_CTX_use_certificate(out.get(), certificate.get()), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(out.get(), remote->get()), 1);
    return out;
  }
  // How often each of `needles` lies in the memory of keyd.
  std::vector<size_t> count_in_keyd(const std::vector<std::string>& needles) {
    std::vector<size_t> counts(needles.size());
    const std::string proc = "/proc/" + std::to_string(keyd_->pid());
    std::ifstream maps(proc + "/maps");
    const UniqueFd mem(::open((proc + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
    std::string line;
    while (std::getline(maps, line)) {
      uint64_t from = 0, to = 0;
      const char* end = line.data() + line.size();
      const auto first = std::from_chars(line.data(), end, from, 16);
      (void)std::from_chars(first.ptr + 1, end, to, 16);
      if (to - from > (uint64_t{1} << 28)) continue;  // reserved, not used
      std::string bytes(to - from, '\0');
      const ssize_t n = ::pread(mem.get(), bytes.data(), bytes.size(), static_cast<off_t>(from));
      if (n <= 0) continue;
      bytes.resize(static_cast<size_t>(n));
      for (size_t i = 0; i < needles.size(); ++i) {
        for (size_t at = bytes.find(needles[i]); at != std::string::npos; at = bytes.find(needles[i], at + 1))
          ++counts[i];
      }
    }
    return counts;
  }

  TempDir dir_;
  std::string file_ = dir_.at("key.pem");
  UniquePkey key_ = make_test_key("p256");
  RemoteWorld world_;
  std::unique_ptr<RoleProcess> keyd_;
  ReadyReport ready_;
  std::vector<std::string> lines_, asked_, breaches_;
};

TEST_F(KeydTest, signs_and_reads_its_key_once) {
  const auto server = server_context();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(handshake(server.get())) << i;
  EXPECT_EQ(asked_, std::vector<std::string>{file_});
  EXPECT_TRUE(lines_.empty());
}

TEST_F(KeydTest, every_step_of_its_sandbox_holds_but_those_with_a_reason) {
  std::vector<std::string> names;
  for (const ReadyStep& step : ready_.sandbox) {
    names.push_back(step.name);
    if (step.name == "memory lock" && !step.holds) {
      EXPECT_TRUE(step.detail.starts_with("RLIMIT_MEMLOCK is ")) << step.detail;  // a container without the privilege
    } else if (step.name == "memory lock") {
      std::ifstream in("/proc/" + std::to_string(keyd_->pid()) + "/status");
      const std::string text((std::istreambuf_iterator<char>(in)), {});
      EXPECT_EQ(text.find("VmLck:\t       0 kB"), std::string::npos);
    }
  }
  for (const char* name : {"memory lock", "identity", "capabilities", "no new privileges", "not dumpable", "seccomp"}) {
    EXPECT_TRUE(std::ranges::find(names, name) != names.end()) << name;
  }
}

TEST_F(KeydTest, has_nothing_open_but_its_channels) {
  const auto server = server_context();
  ASSERT_TRUE(handshake(server.get()));
  if (::geteuid() != 0) GTEST_SKIP() << "who may look into /proc/PID/fd of a process that is not dumpable is root";
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(keyd_->pid()) + "/fd")) {
    const std::string target = std::filesystem::read_symlink(entry.path()).string();
    EXPECT_EQ(target.find("key.pem"), std::string::npos) << target;
    EXPECT_EQ(target.find("socket:") != std::string::npos && entry.path().filename() != "3" &&
                  entry.path().filename().string() > "2",
              false)
        << target;
  }
}

// The private number is in keyd as OpenSSL keeps it, once, and nothing is left of the file or of signatures.
TEST_F(KeydTest, holds_one_copy_of_the_key_and_leaves_no_others) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto server = server_context();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(handshake(server.get()));
  BIGNUM* number = nullptr;
  ASSERT_EQ(EVP_PKEY_get_bn_param(key_.get(), OSSL_PKEY_PARAM_PRIV_KEY, &number), 1);
  std::string big(32, '\0');
  ASSERT_EQ(BN_bn2binpad(number, reinterpret_cast<unsigned char*>(big.data()), 32), 32);
  BN_clear_free(number);
  const std::string little(big.rbegin(), big.rend());
  const std::string pem = pem_of(key_.get());
  const std::string line = pem.substr(pem.find('\n') + 1, 40);
  const std::vector<size_t> found = count_in_keyd({little, big, line});
  EXPECT_GE(found[0], 1U) << "the scan finds nothing at all";
  EXPECT_LE(found[0], 2U);
  EXPECT_EQ(found[1], 0U) << "the decoded file was not wiped";
  EXPECT_EQ(found[2], 0U) << "the file was not wiped";
}

TEST_F(KeydTest, what_was_asked_when_it_died_is_signed_by_the_next_one) {
  const auto server = server_context();
  ASSERT_TRUE(handshake(server.get()));
  Owned<SSL_CTX> client(SSL_CTX_new(TLS_client_method()));
  std::vector<std::unique_ptr<Pair>> pairs;
  keyd_->signal(SIGSTOP);  // so that it dies over them
  for (size_t i = 0; i < 2 * KEY_SLOTS; ++i) {
    pairs.push_back(std::make_unique<Pair>(server.get(), client.get()));
    pairs.back()->wait.bind(world_.channel, i);
    EXPECT_FALSE(pairs.back()->step());
  }
  keyd_->kill_and_wait();
  start();
  std::array<uint64_t, KEY_SLOTS> tokens{};
  size_t done = 0;
  while (done < pairs.size()) {
    ASSERT_TRUE(wait_for_bell());
    const size_t count = world_.channel.collect(tokens);
    for (size_t i = 0; i < count; ++i) done += pairs[tokens[i]]->step() ? 1 : 0;
  }
  EXPECT_EQ(asked_.size(), 2U);
}

TEST_F(KeydTest, tells_of_a_server_that_wants_other_things_signed_and_serves_it_no_more) {
  KeyRequest bad = sign_request(*key_name(file_, key_.get()), 0x0403, tls13_content());
  bad.content[0] = 'x';
  KeyWait wait;
  wait.bind(world_.channel, 1);
  ASSERT_TRUE(wait.begin(bad));
  while (breaches_.empty()) {
    pollfd poll{.fd = keyd_->channel.fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&poll, 1, 30'000), 1);
    ASSERT_TRUE(serve_keyd());
  }
  EXPECT_EQ(breaches_, std::vector<std::string>{"asked to sign what is no handshake of a TLS server"});
  EXPECT_TRUE(asked_.empty());
  wait.cancel();
}

TEST_F(KeydTest, ends_with_its_supervisor_and_when_it_is_told) {
  ASSERT_TRUE(keyd_->channel.send(MessageKind::DRAIN, 0, "1000").has_value());
  auto drained = keyd_->channel.receive_wait(seconds(30));
  ASSERT_TRUE(drained.has_value());
  EXPECT_EQ(drained->kind, MessageKind::DRAINED);
  pollfd ended{.fd = keyd_->pidfd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&ended, 1, 30'000), 1);
  EXPECT_TRUE(keyd_->reap()->clean);
  start();
  keyd_->channel.close();
  ended.fd = keyd_->pidfd();
  ASSERT_EQ(::poll(&ended, 1, 30'000), 1);
  EXPECT_EQ(keyd_->reap()->code, 1);
  keyd_.reset();
}

}  // namespace
}  // namespace penstock::test
