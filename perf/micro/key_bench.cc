// What the key process costs: full TLS 1.3 handshakes with the key in the server and with the key in keyd, alternating
// in one run. CPU time of the server's side alone (the client's half is not counted), keyd's process included.
//
//   build/perf/micro/key_bench PENSTOCK [p256|rsa2048] [rounds]
#include "src/admin/key_messages.h"
#include "src/admin/role_process.h"
#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/base/doorbell.h"
#include "src/tls/remote_key.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace penstock {
namespace {

constexpr size_t HANDSHAKES = 1000;  // a round

double seconds_of(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Identity {
  explicit Identity(const std::string& kind)
      : key(kind == "p256" ? EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256")
                           : EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", size_t{2048})),
        certificate(X509_new()) {
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key.get());
    X509_sign(certificate, key.get(), EVP_sha256());
  }
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;
  ~Identity() { X509_free(certificate); }
  UniquePkey key;
  X509* certificate;
};

SSL_CTX* server_context(OSSL_LIB_CTX* library, const Identity& identity, EVP_PKEY* key) {
  SSL_CTX* out = SSL_CTX_new_ex(library, nullptr, TLS_server_method());
  SSL_CTX_set_options(out, SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(out, 0);
  ASSERT(SSL_CTX_use_certificate(out, identity.certificate) == 1 && SSL_CTX_use_PrivateKey(out, key) == 1);
  return out;
}

// keyd and its supervisor.
class Keyd {
 public:
  Keyd(const char* binary, const KeyChannelEnds& ends, EVP_PKEY* key) {
    char name[] = "/tmp/penstock_key_bench_XXXXXX";
    const UniqueFd fd(::mkstemp(name));
    file = name;
    BIO* out = BIO_new_fd(fd.get(), BIO_NOCLOSE);
    PEM_write_bio_PKCS8PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
    BIO_free(out);
    auto spawned = RoleProcess::spawn(binary, "keyd", 1, MonoTime{});
    ASSERT(spawned.has_value());
    process_ = std::make_unique<RoleProcess>(std::move(*spawned));
    RoleStart start;
    start.role = "keyd";
    start.as_root = ::geteuid() == 0;
    start.uid = start.gid = start.as_root ? 65119 : 0;
    ASSERT(send_start(process_->channel, start).has_value());
    ASSERT(process_->channel.receive_wait(seconds(30)).has_value());
    std::vector<UniqueFd> fds;
    fds.emplace_back(::dup(ends.memory.get()));
    fds.emplace_back(::dup(ends.bell.get()));
    ASSERT(send_key_files(process_->channel, {file}).has_value());
    ASSERT(send_key_channels(process_->channel, 1, fds).has_value());
    ASSERT(::clock_getcpuclockid(process_->pid(), &clock) == 0);
  }
  Keyd(const Keyd&) = delete;
  Keyd& operator=(const Keyd&) = delete;
  ~Keyd() {
    process_->kill_and_wait();
    ::unlink(file.c_str());
  }
  void serve() {  // it asks for its key once
    auto message = process_->channel.receive();
    ASSERT(message.has_value());
    if (!*message || (*message)->kind != MessageKind::KEY_NEED) return;
    ASSERT(
        send_key_file(process_->channel, {.file = file, .fd = UniqueFd(::open(file.c_str(), O_RDONLY))}).has_value());
  }
  [[nodiscard]] int fd() const { return process_->channel.fd(); }
  std::string file;
  clockid_t clock{};

 private:
  std::unique_ptr<RoleProcess> process_;
};

struct Pair {
  Pair(SSL_CTX* server_ctx, SSL_CTX* client_ctx) : server(SSL_new(server_ctx)), client(SSL_new(client_ctx)) {
    BIO* to_server = BIO_new(BIO_s_mem());
    BIO* to_client = BIO_new(BIO_s_mem());
    BIO_up_ref(to_server);
    BIO_up_ref(to_client);
    SSL_set_bio(server, to_server, to_client);
    SSL_set_bio(client, to_client, to_server);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() {
    SSL_free(server);
    SSL_free(client);
  }
  KeyWait wait;
  SSL* server;
  SSL* client;
};

class Bench {
 public:
  Bench(const char* binary, const std::string& kind) : identity_(kind) {
    auto ends = create_key_channel();
    ASSERT(ends.has_value());
    keyd_ = std::make_unique<Keyd>(binary, *ends, identity_.key.get());
    ASSERT(channel_.open(std::move(ends->memory), std::move(ends->bed)).has_value());
    auto loaded = RemoteKeys::load(nullptr);
    ASSERT(loaded.has_value() && prepare_key_thread().has_value());
    keys_ = std::make_unique<RemoteKeys>(std::move(*loaded));
    remote_ = std::move(*keys_->make_key(identity_.key.get(), *key_name(keyd_->file, identity_.key.get())));
    here_ctx_ = server_context(nullptr, identity_, identity_.key.get());
    keyd_ctx_ = server_context(nullptr, identity_, remote_.get());
    client_ctx_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(client_ctx_, TLS1_3_VERSION);
  }

  // Microseconds of CPU a handshake, `at_once` under way at a time.
  double run(bool in_keyd, size_t at_once) {
    server_s_ = 0;
    const double keyd_before = seconds_of(keyd_->clock);
    for (size_t done = 0; done < HANDSHAKES; done += at_once) batch(in_keyd, at_once);
    const double keyd = in_keyd ? seconds_of(keyd_->clock) - keyd_before : 0;
    keyd_us = 1e6 * keyd / HANDSHAKES;
    return 1e6 * (server_s_ + keyd) / HANDSHAKES;
  }
  double keyd_us = 0;  // of the last run

 private:
  void batch(bool in_keyd, size_t at_once) {
    std::vector<std::unique_ptr<Pair>> pairs;
    for (size_t i = 0; i < at_once; ++i) {
      pairs.push_back(std::make_unique<Pair>(in_keyd ? keyd_ctx_ : here_ctx_, client_ctx_));
      Pair& pair = *pairs.back();
      pair.wait.bind(channel_, i);
      SSL_do_handshake(pair.client);
    }
    const double before = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    for (auto& pair : pairs) {
      if (in_keyd) ASSERT(wait_for_key(pair->server, pair->wait).has_value());
      SSL_do_handshake(pair->server);
    }
    if (in_keyd) collect(pairs);
    server_s_ += seconds_of(CLOCK_THREAD_CPUTIME_ID) - before;
    for (auto& pair : pairs) ASSERT(SSL_do_handshake(pair->client) == 1);
    const double last = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    for (auto& pair : pairs) ASSERT(SSL_do_handshake(pair->server) == 1);
    server_s_ += seconds_of(CLOCK_THREAD_CPUTIME_ID) - last;
  }

  void collect(std::vector<std::unique_ptr<Pair>>& pairs) {
    std::array<uint64_t, KEY_SLOTS> tokens{};
    for (size_t gone_on = 0; gone_on < pairs.size();) {
      pollfd fds[] = {{.fd = channel_.wake_fd(), .events = POLLIN, .revents = 0},
                      {.fd = keyd_->fd(), .events = POLLIN, .revents = 0}};
      (void)::poll(fds, 2, -1);
      if (fds[1].revents != 0) keyd_->serve();
      if (fds[0].revents == 0) continue;
      empty_bed(channel_.wake_fd());
      const size_t answered = channel_.collect(tokens);
      for (size_t i = 0; i < answered; ++i) {
        SSL_do_handshake(pairs[tokens[i]]->server);
        stop_waiting_for_key(pairs[tokens[i]]->server);
      }
      gone_on += answered;
    }
  }

  Identity identity_;
  KeyChannel channel_;
  std::unique_ptr<Keyd> keyd_;
  std::unique_ptr<RemoteKeys> keys_;
  UniquePkey remote_;
  SSL_CTX* here_ctx_ = nullptr;
  SSL_CTX* keyd_ctx_ = nullptr;
  SSL_CTX* client_ctx_ = nullptr;
  double server_s_ = 0;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

int run(int argc, char** argv) {
  if (argc < 2) return std::puts("key_bench PENSTOCK [p256|rsa2048] [rounds]"), 2;
  const std::string kind = argc > 2 ? argv[2] : "p256";
  const size_t rounds = argc > 3 ? parse_decimal(argv[3]).value_or(5) : 5;
  Bench bench(argv[1], kind);
  (void)bench.run(true, 1);
  (void)bench.run(false, 1);
  std::printf("%s, full handshakes, CPU of the server's side; median of %zu rounds of %zu\n", kind.c_str(), rounds,
              HANDSHAKES);
  std::printf("%8s %12s %12s %12s %9s  %s\n", "at once", "key here us", "in keyd us", "keyd alone", "cost",
              "(least, most)");
  for (const size_t at_once : {size_t{1}, size_t{4}, size_t{16}, size_t{50}}) {
    std::vector<double> here, there, alone, cost;
    for (size_t i = 0; i < rounds; ++i) {
      here.push_back(bench.run(false, at_once));
      there.push_back(bench.run(true, at_once));
      alone.push_back(bench.keyd_us);
      cost.push_back(100 * (there.back() / here.back() - 1));
    }
    std::printf("%8zu %12.1f %12.1f %12.1f %8.1f%%  (%.1f, %.1f)\n", at_once, median(here), median(there),
                median(alone), median(cost), *std::ranges::min_element(cost), *std::ranges::max_element(cost));
  }
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::run(argc, argv); }
