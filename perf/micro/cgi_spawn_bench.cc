// What penstock-cgi adds to starting a program: from the request in the ring to the first byte of the answer, beside
// the bare start of the same program (vfork, exec, the first byte from its stdout), alternating.
//
//     build/perf/micro/cgi_spawn_bench [PROGRAM]      the default answers at once: /bin/sh -c with a printf
//
// Prints p50 and p99 of both, and what lies between them.
#include "pool/ring/server_link.h"
#include "pool/sdk/penstock_worker.h"
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <spawn.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace penstock {
namespace {

constexpr int ROUNDS = 500;

std::string scratch_program(const std::string& directory) {
  const std::string path = directory + "/answer.cgi";
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
  constexpr std::string_view TEXT = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello'\n";
  ASSERT(::write(file.get(), TEXT.data(), TEXT.size()) == static_cast<ssize_t>(TEXT.size()));
  return path;
}

class Runtime {
 public:
  Runtime(const char* runtime, const std::string& program) {
    const UniqueFd server_half = read_only(memory_.server_half.get()).value();
    std::string variable = std::string(PENSTOCK_WORKER_VARIABLE) + "=";
    ASSERT(hang_bell(worker_bell_, {helper_bed_.get(), bed_.get()}));
    for (const int fd :
         {server_half.get(), memory_.worker_half.get(), helper_bed_.get(), bed_.get(), server_bell_.get()}) {
      ::fcntl(fd, F_SETFD, 0);
      variable += std::to_string(fd) + " ";
    }
    std::array<char*, 2> environment = {variable.data(), nullptr};
    std::array<const char*, 4> words = {runtime, "--program", program.c_str(), nullptr};
    ASSERT(::posix_spawn(&child_, runtime, nullptr, nullptr, const_cast<char**>(words.data()), environment.data()) ==
           0);
    link_.emplace(segment_.channel(0), 1, LinkLimits{});
    while (!link_->ready()) turn([](const LinkEvent&) {}, [this] { return link_->ready(); });
  }
  ~Runtime() {
    ASSERT(link_->stop());
    flush();
    ::waitpid(child_, nullptr, 0);
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Until the first byte; the rest is awaited behind it.
  Duration request() {
    RealClock clock;
    const MonoTime start = clock.now();
    begin();
    MonoTime first = MonoTime::never();
    bool ended = false;
    const auto hear = [&](const LinkEvent& event) {
      if (event.kind == LinkEvent::Kind::HEAD) first = std::min(first, clock.now());
      ended = ended || event.end;
    };
    while (!ended) turn(hear, [&] { return ended; });
    ASSERT(first != MonoTime::never());
    return first - start;
  }

 private:
  void begin() {
    const std::span<char> room = link_->request_room();
    ASSERT(!room.empty());
    penstock_request_head head{};
    size_t at = sizeof head;
    const auto put = [&](std::string_view text) {
      const penstock_text placed{static_cast<uint32_t>(at), static_cast<uint32_t>(text.size())};
      std::ranges::copy(text, room.data() + at);
      room[at + text.size()] = '\0';
      at += text.size() + 1;
      return placed;
    };
    head.version_major = head.version_minor = 1;
    head.server_port = 80;
    head.method = put("GET");
    head.target = head.path = put("/a");
    head.query = head.route_prefix = put("");
    head.authority = put("a.example");
    head.remote_address = head.server_address = put("::1");
    head.site = put("main");
    head.fields_at = sizeof head;
    head.bytes = static_cast<uint32_t>(at);
    std::memcpy(room.data(), &head, sizeof head);
    (void)link_->begin({.serial = ++serial_, .head_bytes = head.bytes, .length = 0});
  }
  void flush() {
    if (link_->flush()) ASSERT(ring_bell(worker_bell_.get()));
  }
  template <typename Hear, typename Done>
  void turn(Hear hear, Done done) {
    LinkEvent event;
    while (link_->next(event)) hear(event);
    ASSERT(link_->violation() == LinkViolation::NONE);
    flush();
    if (link_->may_sleep() && !done()) {
      pollfd waits{.fd = server_bell_.get(), .events = POLLIN, .revents = 0};
      (void)::poll(&waits, 1, 1'000);
      uint64_t count = 0;
      (void)!::read(server_bell_.get(), &count, sizeof count);
    }
    link_->awake();
  }

  SegmentMemory memory_ = create_segment({}).value();
  Segment segment_ = Segment::map(memory_.server_half.get(), memory_.worker_half.get(), Segment::Side::SERVER).value();
  UniqueFd server_bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  UniqueFd helper_bed_ = make_bed().value();
  UniqueFd bed_ = make_bed().value();
  UniqueFd worker_bell_ = make_bell().value();
  std::optional<ServerLink> link_;
  pid_t child_ = -1;
  uint64_t serial_ = 0;
};

Duration bare(const std::string& program) {
  RealClock clock;
  const MonoTime start = clock.now();
  int fds[2];
  ASSERT(::pipe2(fds, O_CLOEXEC) == 0);
  const UniqueFd read(fds[0]);
  UniqueFd write(fds[1]);
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, write.get(), 1);
  std::array<char*, 2> words = {const_cast<char*>(program.c_str()), nullptr};
  std::array<char*, 1> environment = {nullptr};
  pid_t child = -1;
  ASSERT(::posix_spawn(&child, program.c_str(), &files, nullptr, words.data(), environment.data()) == 0);
  ::posix_spawn_file_actions_destroy(&files);
  write.reset();
  char byte = 0;
  ASSERT(::read(read.get(), &byte, 1) == 1);
  const Duration first = clock.now() - start;
  ::waitpid(child, nullptr, 0);
  return first;
}

double at(std::vector<Duration>& all, double share) {
  std::ranges::sort(all);
  return static_cast<double>(all[static_cast<size_t>(share * static_cast<double>(all.size() - 1))].ns) / 1e6;
}

void measure(const char* runtime, const std::string& program) {
  Runtime through(runtime, program);
  std::vector<Duration> bares;
  std::vector<Duration> cgis;
  for (int i = 0; i < ROUNDS; ++i) {
    bares.push_back(bare(program));
    cgis.push_back(through.request());
  }
  std::printf("bare start  p50 %.3f ms  p99 %.3f ms\n", at(bares, 0.5), at(bares, 0.99));
  std::printf("penstock-cgi p50 %.3f ms  p99 %.3f ms\n", at(cgis, 0.5), at(cgis, 0.99));
  std::printf("added at p50: %.3f ms\n", at(cgis, 0.5) - at(bares, 0.5));
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  char directory[] = "/tmp/penstock_bench_XXXXXX";
  ASSERT(::mkdtemp(directory) != nullptr);
  const std::string scratch = penstock::scratch_program(directory);
  penstock::measure(PENSTOCK_CGI, argc > 1 ? argv[1] : scratch);
  ::unlink(scratch.c_str());
  ::rmdir(directory);
  return 0;
}
