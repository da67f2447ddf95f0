// keyd as it is: the real binary in its sandbox. The test is its supervisor, and the server that it signs for.
#include "src/admin/key_messages.h"
#include "src/admin/role_process.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/tls/tls_world.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace penstock::test {
namespace {

// How often each of `needles` lies in the memory of a process.
std::vector<size_t> count_in(pid_t pid, const std::vector<std::string>& needles) {
  std::vector<size_t> counts(needles.size());
  const std::string proc = "/proc/" + std::to_string(pid);
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

// The private numbers of a key, 32 bytes of each, as people write them and as OpenSSL keeps them.
std::vector<std::string> private_bytes(const EVP_PKEY* key) {
  std::vector<std::string> out;
  for (const char* name :
       {OSSL_PKEY_PARAM_PRIV_KEY, OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2}) {
    BIGNUM* number = nullptr;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1) continue;
    std::string big(static_cast<size_t>(BN_num_bytes(number)), '\0');
    BN_bn2bin(number, reinterpret_cast<unsigned char*>(big.data()));
    BN_clear_free(number);
    const std::string little(big.rbegin(), big.rend());
    out.push_back(little.substr(0, 32));
    out.push_back(big.substr(0, 32));
  }
  ERR_clear_error();
  return out;
}

class KeydTest : public testing::Test {
 protected:
  virtual void make_key() {
    key_ = make_test_key("p256");
    certificate_ = make_test_certificate(key_.get());
    dir_.write("key.pem", pem_of(key_.get()));
  }
  void SetUp() override {
    make_key();
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
      if (fds[0].revents == 0) continue;
      empty_bed(world_.channel.wake_fd());
      return true;
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
    auto name = key_name(file_, key_.get());
    auto remote = world_.keys->make_key(key_.get(), *name);
    EXPECT_EQ(SSL_CTX_use_certificate(out.get(), certificate_.get()), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(out.get(), remote->get()), 1);
    return out;
  }
  TempDir dir_;
  std::string file_ = dir_.at("key.pem");
  UniquePkey key_;  // or its public half
  Owned<X509> certificate_;
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
  const std::vector<std::string> bytes = private_bytes(key_.get());
  const std::string pem = pem_of(key_.get());
  const std::string line = pem.substr(pem.find('\n') + 1, 40);
  const std::vector<size_t> found = count_in(keyd_->pid(), {bytes[0], bytes[1], line});
  EXPECT_GE(found[0], 1U) << "the scan finds nothing at all";
  EXPECT_LE(found[0], 2U);
  EXPECT_EQ(found[1], 0U) << "the decoded file was not wiped";
  EXPECT_EQ(found[2], 0U) << "the file was not wiped";
}

// This process is a server: it is given a certificate, and never the key, which another process has made.
class ServerTest : public KeydTest {
 protected:
  void make_key() override {
    ASSERT_EQ(in_another_process([this] {
                const UniquePkey key = make_test_key(kind_);
                const Owned<X509> certificate = make_test_certificate(key.get());
                dir_.write("key.pem", pem_of(key.get()));
                const Owned<BIO> out(BIO_new_file(dir_.at("certificate.pem").c_str(), "w"));
                return PEM_write_bio_X509(out.get(), certificate.get()) == 1 ? 0 : 1;
              }),
              0);
    const Owned<BIO> in(BIO_new_file(dir_.at("certificate.pem").c_str(), "r"));
    certificate_.reset(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
    key_.reset(X509_get_pubkey(certificate_.get()));
  }
  template <typename F>
  static int in_another_process(const F& action) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(action());
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // How many of the key's numbers, in either order of bytes, are found in a process; asked by a third one.
  int found_in(pid_t pid) {
    return in_another_process([this, pid] {
      const Owned<BIO> in(BIO_new_file(file_.c_str(), "r"));
      const UniquePkey key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
      int found = 0;
      for (const size_t count : count_in(pid, private_bytes(key.get()))) found += count != 0 ? 1 : 0;
      return found;
    });
  }
  void scan(int numbers) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    const auto server = server_context();
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(handshake(server.get()));
    EXPECT_EQ(found_in(::getpid()), 0);
    EXPECT_EQ(found_in(keyd_->pid()), numbers) << "the scan would find nothing anywhere";
    const std::string copy = private_copy();
    EXPECT_GE(found_in(::getpid()), 1) << copy.size();
  }
  // The scan finds what is here.
  std::string private_copy() {
    const Owned<BIO> in(BIO_new_file(file_.c_str(), "r"));
    const UniquePkey key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
    return private_bytes(key.get()).front();
  }
  const char* kind_ = "p256";
};

class RsaServerTest : public ServerTest {
 protected:
  RsaServerTest() { kind_ = "rsa"; }
};

TEST_F(ServerTest, has_no_private_key_in_its_memory) { scan(1); }
TEST_F(RsaServerTest, has_no_private_key_in_its_memory) { scan(3); }

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
