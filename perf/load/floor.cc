// floor: the least a server can do, as the yardstick of DESIGN.md section 8. No parsing, no files, no log,
// no limits, no time-outs: each "\r\n\r\n" received is answered with the same 1 KiB response.
//
//   floor [--mode=uring|epoll|transport|transport-plain|transport-epoll] [--port=N] [--body=BYTES] [--close]
//         [--file]
//
// uring and epoll are bare loops; transport runs the same answers through penstock's Transport, so that
// the difference of the two is what that seam costs (transport-plain: with ordinary instead of direct
// descriptors). --close ends the connection after each answer.
// --file (transport modes only) sends the body as a part of a memfd, one request at a time.
// The uring loop uses src/uring (set-up, entries, buffers) and nothing above it.
#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/transport/select.h"
#include "src/uring/buffer_ring.h"

#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/tcp.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/mman.h>

using namespace penstock;

namespace {

constexpr uint32_t DEPTH_MAX = 64;  // answers that fit one send
constexpr uint32_t CONNECTIONS_MAX = 16'384;

struct Floor {
  std::string mode = "uring";
  uint16_t port = 9'000;
  size_t body_bytes = 1'024;
  bool close_after = false;
  bool from_file = false;
  std::string answers;  // DEPTH_MAX times the same
  size_t answer_bytes = 0;
  size_t head_bytes = 0;
  int body_file = -1;
  int listener = -1;
};

uint32_t count_requests(const char* data, size_t size) {
  uint32_t count = 0;
  const char* end = data + size;
  while (const void* hit = ::memmem(data, static_cast<size_t>(end - data), "\r\n\r\n", 4)) {
    ++count;
    data = static_cast<const char*>(hit) + 4;
  }
  return count < DEPTH_MAX ? count : DEPTH_MAX;
}

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "floor: %s\n", what.c_str());
  std::exit(1);
}

void listen_on(Floor& floor) {
  floor.listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(floor.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(floor.listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(floor.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(floor.listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(floor.listener, 4'096) != 0) {
    die("port " + std::to_string(floor.port) + " cannot be had");
  }
}

// ---- the bare io_uring loop

enum class Op : uint64_t { ACCEPT, RECEIVE, SEND, IGNORED };

class UringFloor {
 public:
  explicit UringFloor(const Floor& floor) : floor_(floor) {
    auto ring = Ring::open({.sq_entries = 512, .cq_entries = 4'096});
    if (!ring) die(ring.error().message);
    ring_ = std::move(*ring);
    if (!ring_->register_sparse_files(CONNECTIONS_MAX)) die("no direct descriptors");
    buffers_ = std::move(*BufferRing::open(*ring_, 0, 1'024, 4'096));
    if (!ring_->start()) die("the ring does not start");
  }

  [[noreturn]] void run() {
    entry(IORING_OP_ACCEPT, floor_.listener, Op::ACCEPT, 0);
    last_->ioprio = IORING_ACCEPT_MULTISHOT;
    last_->file_index = IORING_FILE_INDEX_ALLOC;
    for (;;) {
      buffers_->publish();
      (void)ring_->enter(1, {-1});
      const uint32_t ready = ring_->ready();
      for (uint32_t i = 0; i < ready; ++i) on_completion(ring_->peek(i));
      ring_->advance(ready);
    }
  }

 private:
  void entry(uint8_t opcode, int file, Op op, uint64_t index) {
    last_ = ring_->sqe();
    last_->opcode = opcode;
    last_->fd = file;
    last_->user_data = (static_cast<uint64_t>(op) << 32) | index;
  }

  void on_completion(const Completion& completion) {
    const int file = static_cast<int>(completion.user_data & 0xffffffff);
    switch (static_cast<Op>(completion.user_data >> 32)) {
      case Op::ACCEPT:
        if (completion.res >= 0) receive(completion.res);
        return;
      case Op::RECEIVE: {
        if (completion.res <= 0) return close(file);
        const uint32_t buffer = completion.flags >> IORING_CQE_BUFFER_SHIFT;
        const uint32_t count = count_requests(buffers_->data(buffer), static_cast<size_t>(completion.res));
        buffers_->give(buffer);
        if (count > 0) send(file, count);
        if (floor_.close_after) return close(file);
        if ((completion.flags & IORING_CQE_F_MORE) == 0) receive(file);
        return;
      }
      default:
        return;
    }
  }

  void receive(int file) {
    entry(IORING_OP_RECV, file, Op::RECEIVE, static_cast<uint64_t>(file));
    last_->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    // With one request a connection there is nothing to receive a second time.
    last_->ioprio = floor_.close_after ? 0 : IORING_RECV_MULTISHOT;
  }

  void send(int file, uint32_t count) {
    entry(IORING_OP_SEND, file, Op::SEND, static_cast<uint64_t>(file));
    last_->flags = IOSQE_FIXED_FILE;
    last_->addr = reinterpret_cast<uint64_t>(floor_.answers.data());
    last_->len = static_cast<uint32_t>(count * floor_.answer_bytes);
    last_->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  }

  void close(int file) {
    entry(IORING_OP_CLOSE, 0, Op::IGNORED, 0);
    last_->flags = IOSQE_CQE_SKIP_SUCCESS;
    last_->file_index = static_cast<uint32_t>(file) + 1;
  }

  const Floor& floor_;
  std::unique_ptr<BufferRing> buffers_;
  std::unique_ptr<Ring> ring_;
  io_uring_sqe* last_ = nullptr;
};

// ---- the bare epoll loop

[[noreturn]] void run_epoll(const Floor& floor) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event events[512];
  epoll_event interest{.events = EPOLLIN, .data = {.fd = floor.listener}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, floor.listener, &interest);
  char buffer[65'536];
  for (;;) {
    const int count = ::epoll_wait(epoll, events, 512, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == floor.listener) {
        const int peer = ::accept4(floor.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        interest = {.events = EPOLLIN | EPOLLET, .data = {.fd = peer}};
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, peer, &interest);
        continue;
      }
      const ssize_t size = ::recv(fd, buffer, sizeof buffer, 0);
      const uint32_t requests = size > 0 ? count_requests(buffer, static_cast<size_t>(size)) : 0;
      if (requests > 0) ::send(fd, floor.answers.data(), requests * floor.answer_bytes, MSG_NOSIGNAL);
      if (size == 0 || (size < 0 && errno != EAGAIN) || floor.close_after) ::close(fd);
    }
  }
}

// ---- through penstock's Transport

void answer(const Floor& floor, Transport& transport, Handle conn, uint32_t requests) {
  if (!floor.from_file) {
    transport.send_bytes(conn, floor.answers.data(), requests * floor.answer_bytes);
    return;
  }
  const SendPart parts[] = {SendPart::memory(floor.answers.data(), floor.head_bytes),
                            SendPart::file(floor.body_file, 0, floor.body_bytes)};
  transport.send(conn, parts, false);
}

[[noreturn]] void run_transport(const Floor& floor, TransportKind kind) {
  auto opened = open_transport(kind, {.connections_max = CONNECTIONS_MAX},
                               {.direct_descriptors = floor.mode != "transport-plain"});
  if (!opened) die(opened.error().message);
  if (!opened->note.empty()) std::fprintf(stderr, "%s\n", opened->note.c_str());
  Transport& transport = *opened->transport;
  if (!transport.add_listener(floor.listener, 0)) die("listener refused");
  RealClock clock;
  std::vector<TransportEvent> events(256);
  for (;;) {
    const size_t count = transport.poll(clock.now(), MonoTime::never(), events);
    for (const TransportEvent& event : std::span(events.data(), count)) {
      if (event.kind == TransportEventKind::RECEIVED) {
        const uint32_t requests = count_requests(event.data, event.size);
        transport.release(event.buffer);
        if (requests > 0 && transport.is_open(event.conn)) {
          answer(floor, transport, event.conn, requests);
        }
      } else if (event.kind == TransportEventKind::SENT) {
        if (floor.close_after) transport.close(event.conn);
      } else if (event.kind == TransportEventKind::PEER_CLOSED || event.kind == TransportEventKind::FAILED) {
        if (transport.is_open(event.conn)) transport.close(event.conn);
      }
    }
  }
}

Floor parse(int argc, char** argv) {
  Floor floor;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const std::string_view value = arg.substr(arg.find('=') + 1);
    const auto number = [&] { return parse_decimal(value).value_or(0); };
    if (arg.starts_with("--mode=")) {
      floor.mode = value;
    } else if (arg.starts_with("--port=")) {
      floor.port = static_cast<uint16_t>(number());
    } else if (arg.starts_with("--body=")) {
      floor.body_bytes = number();
    } else if (arg == "--close") {
      floor.close_after = true;
    } else if (arg == "--file") {
      floor.from_file = true;
    } else {
      die("usage: see the head of floor.cc");
    }
  }
  std::string answer =
      "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\n"
      "Content-Length: " +
      std::to_string(floor.body_bytes) +
      "\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nETag: \"00000000-400\"\r\nAccept-Ranges: bytes\r\n" +
      (floor.close_after ? "Connection: close\r\n\r\n" : "Connection: keep-alive\r\n\r\n");
  floor.head_bytes = answer.size();
  answer.append(floor.body_bytes, 'x');
  floor.body_file = ::memfd_create("body", MFD_CLOEXEC);
  if (::write(floor.body_file, answer.data() + floor.head_bytes, floor.body_bytes) < 0) die("no memfd");
  floor.answer_bytes = answer.size();
  // A pipeline of large answers is nobody's yardstick.
  const uint32_t depth = floor.body_bytes <= 16'384 ? DEPTH_MAX : 1;
  for (uint32_t i = 0; i < depth; ++i) floor.answers += answer;
  return floor;
}

}  // namespace

int main(int argc, char** argv) {
  Floor floor = parse(argc, argv);
  listen_on(floor);
  if (floor.mode == "epoll") run_epoll(floor);
  if (floor.mode == "transport" || floor.mode == "transport-plain") run_transport(floor, TransportKind::URING);
  if (floor.mode == "transport-epoll") run_transport(floor, TransportKind::EPOLL);
  if (floor.mode != "uring") die("unknown mode " + floor.mode);
  UringFloor(floor).run();
}
