// FcgiApplication: a FastCGI application of the tests, in threads: what it does is said by the query of the request.
#pragma once

#include "pool/runtimes/upstream/fcgi_record.h"
#include "src/base/unique_fd.h"
#include "tests/support/temp_dir.h"

#include <atomic>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <utility>
#include <vector>

namespace penstock {

class FcgiApplication {
 public:
  // Listens at once; serves after start().
  explicit FcgiApplication(const std::string& path) {
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    ASSERT(::listen(listener_.get(), 64) == 0);
  }
  void start() {
    acceptor_ = std::thread([this] {
      for (;;) {
        UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!peer.valid()) return;
        ++connections;
        const std::lock_guard lock(mutex_);
        peers_.push_back(std::move(peer));
        threads_.emplace_back([this, fd = peers_.back().get()] { serve(fd); });
      }
    });
  }
  ~FcgiApplication() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    if (acceptor_.joinable()) acceptor_.join();
    for (const UniqueFd& peer : peers_) ::shutdown(peer.get(), SHUT_RDWR);
    for (std::thread& thread : threads_) thread.join();
  }

  std::atomic<int> connections{0};
  std::atomic<int> begun{0};    // requests
  std::atomic<int> aborted{0};  // ABORT_REQUEST records
  std::atomic<bool> multiplexes{false};
  std::atomic<int> asked{0};  // GET_VALUES

 private:
  struct Request {
    std::string params;
    std::string body;
    std::string query;
    size_t body_bytes = 0;
  };
  struct Connection {
    int fd = -1;
    std::map<uint16_t, Request> requests;
    std::vector<uint16_t> held;
    int served = 0;
    uint16_t again = 0;
    std::string values;
  };

  static void send(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t size = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (size <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(size));
    }
  }
  static void put_end(std::string& to, uint16_t id, char how = 0, char status = 0) {
    const char body[8] = {0, 0, 0, status, how, 0, 0, 0};
    put_fcgi_record(to, FcgiType::END_REQUEST, id, {body, 8});
  }
  static void answer(int fd, uint16_t id, std::string_view body, std::string_view head = "Content-Type: a/b\r\n\r\n") {
    std::string all;
    put_fcgi_record(all, FcgiType::STDOUT, id, std::string(head).append(body));
    put_fcgi_record(all, FcgiType::STDOUT, id, {});
    put_end(all, id);
    send(fd, all);
  }
  static std::string one_by_one(uint16_t id) {
    std::string all;
    for (const char c : std::string("Status: 202\r\nContent-Type: a/b\r\n\r\nbyte by byte")) {
      put_fcgi_record(all, FcgiType::STDOUT, id, {&c, 1});
      all[all.size() - 3] = 7;  // padding
      all.append(7, 'p');
    }
    put_end(all, id);
    return all;
  }

  void serve(int fd) {
    Connection connection;
    connection.fd = fd;
    FcgiReader reader;
    std::vector<char> room(100'000);
    for (;;) {
      const ssize_t size = ::recv(fd, room.data(), room.size(), 0);
      if (size <= 0) return;
      std::string_view left(room.data(), static_cast<size_t>(size));
      while (!left.empty()) {
        size_t consumed = 0;
        FcgiPiece piece;
        const FcgiReader::State state = reader.next(left, consumed, piece);
        left.remove_prefix(consumed);
        if (state == FcgiReader::State::BAD) return;
        if (state == FcgiReader::State::PIECE && !take(connection, piece)) {
          ::shutdown(fd, SHUT_RDWR);
          return;
        }
      }
    }
  }

  bool take(Connection& connection, const FcgiPiece& piece) {
    Request& request = connection.requests[piece.id];
    switch (piece.type) {
      case FcgiType::BEGIN_REQUEST:
        if (piece.last) ++begun;
        return true;
      case FcgiType::PARAMS:
        request.params += piece.content;
        if (piece.record_bytes > 0) return true;
        request.query = query_of(request.params);
        return request.query != "close" && !(request.query == "stale" && connection.served > 0);
      case FcgiType::STDIN:
        request.body_bytes += piece.content.size();
        if (request.query != "count") request.body += piece.content;
        return piece.record_bytes > 0 || reply(connection, piece.id);
      case FcgiType::ABORT_REQUEST:
        ++aborted;
        if (request.query != "ends") return true;
        {
          std::string all;
          put_end(all, piece.id);
          send(connection.fd, all);
        }
        connection.requests.erase(piece.id);
        return true;
      case FcgiType::GET_VALUES: {
        connection.values += piece.content;
        if (!piece.last) return true;
        ++asked;
        if (!multiplexes) return false;  // as PHP does
        std::string values;
        put_fcgi_pair(values, "FCGI_MAX_REQS", "8");
        put_fcgi_pair(values, "FCGI_MPXS_CONNS", "1");
        std::string all;
        put_fcgi_record(all, FcgiType::GET_VALUES_RESULT, 0, values);
        send(connection.fd, all);
        return true;
      }
      default:
        return false;
    }
  }

  static std::string query_of(const std::string& params) {
    const std::optional<FcgiPairs> pairs = parse_fcgi_pairs(params);
    if (!pairs) return "close";
    for (const auto& [name, value] : *pairs) {
      if (name == "QUERY_STRING") return std::string(value);
    }
    return {};
  }

  // False: closes the connection.
  bool reply(Connection& connection, uint16_t id) {
    const Request request = connection.requests[id];
    const std::string& query = request.query;
    const int fd = connection.fd;
    std::string all;
    if (query == "silent" || query == "ends") return true;
    if (query == "hold") {
      connection.held.push_back(id);
      return true;
    }
    ++connection.served;
    connection.requests.erase(id);
    if (connection.again != 0) answer(fd, std::exchange(connection.again, 0), "again");
    if (query == "again") connection.again = id;  // it is answered once more when the next one is asked
    if (query == "bytes") {
      for (const char c : one_by_one(id)) send(fd, {&c, 1});
      return true;
    }
    if (query == "pieces") return send(fd, one_by_one(id)), true;
    if (query == "version") return send(fd, "\2\6\0\1\0\0\0\0"), true;
    if (query == "text") return send(fd, "HTTP/1.1 200 OK\r\n\r\n"), true;
    if (query == "stranger") return answer(fd, 77, "for nobody"), true;
    if (query == "twice") return answer(fd, id, "once"), answer(fd, id, "twice"), true;
    if (query == "type") return put_fcgi_begin(all, id, true), send(fd, all), true;
    if (query == "management") return put_fcgi_record(all, FcgiType::GET_VALUES_RESULT, 0, "x"), send(fd, all), true;
    if (query == "short") return put_fcgi_record(all, FcgiType::END_REQUEST, id, "1234"), send(fd, all), true;
    if (query == "unknown") return put_end(all, id, 9), send(fd, all), true;
    if (query == "multiplex") return put_end(all, id, 1), send(fd, all), true;
    if (query == "overloaded") return put_end(all, id, 2), send(fd, all), true;
    if (query == "role") return put_end(all, id, 3), send(fd, all), true;
    if (query == "status") return put_end(all, id, 0, 5), send(fd, all), true;
    if (query == "nothing") return put_end(all, id), send(fd, all), true;
    if (query == "badhead") return answer(fd, id, "x", "no colon\n\n"), true;
    if (query == "longhead") return answer(fd, id, "x", "X: " + std::string(70'000, 'x') + "\n\n"), true;
    if (query == "half") {
      put_fcgi_record(all, FcgiType::STDOUT, id, "Content-Type: a/b\n\nhalf");
      send(fd, all);
      return false;
    }
    if (query == "stderr") {
      put_fcgi_record(all, FcgiType::STDERR, id, "PHP Warning: one\ntwo");
      send(fd, all);
    }
    if (query == "params") return answer(fd, id, request.params), true;
    if (query == "count") return answer(fd, id, std::to_string(request.body_bytes)), true;
    if (query == "big") return answer(fd, id, std::string(3'000'000, 'b')), true;
    if (query == "local") return answer(fd, id, "", "Location: /elsewhere\n\n"), true;
    if (query == "release") {
      answer(fd, id, "released");
      for (auto held = connection.held.rbegin(); held != connection.held.rend(); ++held) answer(fd, *held, "held");
      connection.held.clear();
      return true;
    }
    answer(fd, id, "echo " + request.body);
    return true;
  }

  UniqueFd listener_;
  std::thread acceptor_;
  std::mutex mutex_;
  std::list<UniqueFd> peers_;
  std::list<std::thread> threads_;
};

}  // namespace penstock
