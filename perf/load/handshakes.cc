// handshakes: connections over TLS 1.3 that are opened, asked once and closed, so many at a time.
//
//   handshakes --port=N [--path=/1k.bin] [--connections=64] [--seconds=2] [--resume]
//
// With --resume each connection after a slot's first goes on with the newest ticket that the slot was given. The
// certificate is not checked: only the server's time counts. Prints one line of JSON; exit code 1 when nothing was
// answered. One thread, epoll.
#include "src/base/bytes.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  uint16_t port = 0;
  std::string path = "/1k.bin";
  size_t connections = 64;
  double seconds = 2;
  bool resume = false;
};

struct Totals {
  uint64_t requests = 0;
  uint64_t resumed = 0;
  uint64_t failed = 0;
};

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
struct FreeSession {
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};

// A slot: one connection after the other.
struct Slot {
  int fd = -1;
  bool asked = false;
  std::string answer;
  std::unique_ptr<SSL, FreeSsl> ssl;
  std::unique_ptr<SSL_SESSION, FreeSession> session;
};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(2);
}

int keep_session(SSL* ssl, SSL_SESSION* session) {
  static_cast<Slot*>(SSL_get_app_data(ssl))->session.reset(session);
  return 1;  // it is ours now
}

class Load {
 public:
  explicit Load(const Options& options) : options_(options), slots_(options.connections), epoll_(::epoll_create1(0)) {
    SSL_CTX_set_min_proto_version(context_, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context_, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set1_groups_list(context_, "X25519");
    SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context_, keep_session);
    request_ = "GET " + options.path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load() {
    for (Slot& slot : slots_) end(slot);
    SSL_CTX_free(context_);
    ::close(epoll_);
  }

  Totals run() {
    const auto until = Clock::now() + std::chrono::duration<double>(options_.seconds);
    for (Slot& slot : slots_) begin(slot);
    while (Clock::now() < until) {
      epoll_event events[64];
      const int came = ::epoll_wait(epoll_, events, 64, 100);
      for (int i = 0; i < came; ++i) step(*static_cast<Slot*>(events[i].data.ptr));
    }
    return totals_;
  }

 private:
  void begin(Slot& slot) {
    slot.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (slot.fd < 0) die("socket");
    const int on = 1;
    (void)::setsockopt(slot.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options_.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(slot.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno != EINPROGRESS) {
      die("connect");
    }
    slot.ssl.reset(SSL_new(context_));
    SSL_set_app_data(slot.ssl.get(), &slot);
    SSL_set_fd(slot.ssl.get(), slot.fd);
    // What SSL_set_tlsext_host_name() is, without its C cast.
    char name[] = "localhost";
    SSL_ctrl(slot.ssl.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name);
    SSL_set_connect_state(slot.ssl.get());
    if (options_.resume && slot.session != nullptr) SSL_set_session(slot.ssl.get(), slot.session.get());
    slot.asked = false;
    slot.answer.clear();
    epoll_event wanted{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = &slot}};
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, slot.fd, &wanted) != 0) die("epoll_ctl");
  }

  static void end(Slot& slot) {
    slot.ssl.reset();
    if (slot.fd >= 0) ::close(slot.fd);
    slot.fd = -1;
  }

  void step(Slot& slot) {
    SSL* const ssl = slot.ssl.get();
    if (!slot.asked) {
      const int done = SSL_do_handshake(ssl);
      if (done != 1) {
        if (SSL_get_error(ssl, done) != SSL_ERROR_WANT_READ && SSL_get_error(ssl, done) != SSL_ERROR_WANT_WRITE)
          over(slot, false);
        return;
      }
      slot.asked = true;
      if (SSL_write(ssl, request_.data(), static_cast<int>(request_.size())) <= 0) return over(slot, false);
    }
    char bytes[16'384];
    for (;;) {
      const int got = SSL_read(ssl, bytes, sizeof bytes);
      if (got > 0) {
        slot.answer.append(bytes, static_cast<size_t>(got));
        continue;
      }
      if (SSL_get_error(ssl, got) == SSL_ERROR_WANT_READ) return;
      const bool ended = SSL_get_error(ssl, got) == SSL_ERROR_ZERO_RETURN;
      return over(slot, ended && slot.answer.starts_with("HTTP/1.1 200 "));
    }
  }

  void over(Slot& slot, bool good) {
    ++(good ? totals_.requests : totals_.failed);
    if (good && SSL_session_reused(slot.ssl.get()) != 0) ++totals_.resumed;
    if (good) (void)SSL_shutdown(slot.ssl.get());
    end(slot);
    begin(slot);
  }

  const Options& options_;
  SSL_CTX* const context_ = SSL_CTX_new(TLS_client_method());
  std::vector<Slot> slots_;
  std::string request_;
  int epoll_;
  Totals totals_;
};

[[noreturn]] void misused(const char* argument) {
  std::fprintf(stderr, "handshakes: unknown or malformed: %s\n", argument);
  std::exit(2);
}

Options options_of(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::string_view name = argument.substr(0, argument.find('='));
    const std::string_view value = argument.substr(std::min(name.size() + 1, argument.size()));
    const auto number = [&] {
      const auto read = penstock::parse_decimal(value);
      if (!read) misused(argv[i]);
      return *read;
    };
    if (name == "--port") {
      options.port = static_cast<uint16_t>(number());
    } else if (name == "--connections") {
      options.connections = number();
    } else if (name == "--seconds") {
      options.seconds = static_cast<double>(number());
    } else if (name == "--path") {
      options.path = value;
    } else if (argument == "--resume") {
      options.resume = true;
    } else {
      misused(argv[i]);
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = options_of(argc, argv);
  const auto start = Clock::now();
  const Totals totals = Load(options).run();
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
  std::printf("{\"requests\": %lu, \"resumed\": %lu, \"failed\": %lu, \"duration_us\": %ld}\n", totals.requests,
              totals.resumed, totals.failed, us);
  return totals.requests > 0 ? 0 : 1;
}
