// net_load: load on a server past the kernel, or the bare limit in its place, on a DPDK port of its own and one core.
//
//   net_load --device=net_memif1,role=client,… --own=ADDRESS --to=ADDRESS[:PORT] --path=/1k.bin --body=FILE
//            [--connections=N] [--pipeline=N] [--close] [--rate=N] [--give-up=MS] [--seconds=N] [--warmup=N]
//            [--queues=N]
//            [--astray]
//   net_load --reflect --device=… --own=ADDRESS --body=FILE
//
// The first asks, prints "counting" when it begins to count, and one line of JSON at the end: counts, errors, latency
// percentiles in µs (load_clients.h). The second prints "reflecting" and answers (reflector.h), until it is ended.
// Addresses are IPv4, on one link. The exit code is 1 when an answer was wrong.
#include "perf/load/all_queues.h"
#include "perf/load/load_clients.h"
#include "perf/load/reflector.h"
#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/transport/dpdk/dpdk_eal.h"
#include "src/transport/dpdk/dpdk_port.h"

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <sys/random.h>
#include <vector>

using namespace penstock;

namespace {

struct Options {
  DpdkEalConfig eal;
  DpdkPortConfig port;
  IpAddress own = IpAddress::v4(0);
  LoadPlan plan;
  uint64_t seconds = 2;
  uint64_t warmup = 1;
  uint64_t patience = 10;  // for the link, and for the first connection
  bool reflect = false;
  bool astray = false;  // of several queues: all_queues.h
};

std::atomic<bool> ended = false;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "net_load: %s\n", what.c_str());
  std::exit(2);
}

IpAddress address(std::string_view text) {
  in_addr parsed{};
  if (::inet_pton(AF_INET, std::string(text).c_str(), &parsed) != 1) die("not an IPv4 address: " + std::string(text));
  return IpAddress::v4(ntohl(parsed.s_addr));
}

std::string file_bytes(std::string_view path) {
  std::ifstream file{std::string(path), std::ios::binary};
  if (!file) die("cannot read " + std::string(path));
  return {std::istreambuf_iterator<char>(file), {}};
}

Options parse(int argc, char** argv) {
  Options options;
  options.eal.hugepages = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const std::string_view value = arg.find('=') == std::string_view::npos ? "" : arg.substr(arg.find('=') + 1);
    const std::string_view key = arg.substr(0, arg.find('='));
    const uint64_t number = parse_decimal(value).value_or(0);
    if (key == "--device")
      options.eal.device = value;
    else if (key == "--own")
      options.own = address(value);
    else if (key == "--to")
      options.plan.to = address(value.substr(0, value.find(':')));
    else if (key == "--path")
      options.plan.path = value;
    else if (key == "--body")
      options.plan.body = file_bytes(value);
    else if (key == "--connections")
      options.plan.connections = static_cast<uint32_t>(number);
    else if (key == "--pipeline")
      options.plan.pipeline = static_cast<uint32_t>(number);
    else if (key == "--close")
      options.plan.close = true;
    else if (key == "--rate")
      options.plan.rate = number;
    else if (key == "--give-up")
      options.plan.give_up = milliseconds(static_cast<int64_t>(number));
    else if (key == "--seconds")
      options.seconds = number;
    else if (key == "--warmup")
      options.warmup = number;
    else if (key == "--queues")
      options.port.queues = options.eal.queues =
          static_cast<uint16_t>(std::clamp<uint64_t>(number, 1, DpdkPort::QUEUES_MAX));
    else if (key == "--astray")
      options.astray = true;
    else if (key == "--reflect")
      options.reflect = true;
    else
      die("usage: see the head of net_load.cc");
    if (key == "--to" && value.find(':') != std::string_view::npos)
      options.plan.port = static_cast<uint16_t>(parse_decimal(value.substr(value.find(':') + 1)).value_or(0));
  }
  if (options.eal.device.empty() || options.plan.body.empty() || options.plan.connections == 0)
    die("usage: see the head of net_load.cc");
  return options;
}

NetConfig net_config(const Options& options, const MacAddress& mac) {
  NetConfig config;
  config.addresses.mac = mac;
  config.addresses.v4 = options.own;
  config.limits.connections_max = 4 * options.plan.connections + 1'024;
  config.limits.receive_holds_max = options.port.holds_max;
  config.limits.replies_per_second = 10'000'000;  // who has given up says so to the server that answers then
  for (uint64_t& word : config.secret) {
    while (::getrandom(&word, sizeof word, 0) != sizeof word) {
    }
  }
  return config;
}

void print(const LoadResult& result, Duration duration, double busy, uint32_t unanswered, const NetCounters& counters) {
  std::printf("{\"requests\": %llu, \"connects\": %llu, \"duration_us\": %lld, \"busy\": %.4f, ",
              static_cast<unsigned long long>(result.requests), static_cast<unsigned long long>(result.connects),
              static_cast<long long>(duration.us()), busy);
  std::printf("\"errors\": {\"wrong\": %llu, \"failed\": %llu, \"refused\": %llu, \"unanswered\": %u}, ",
              static_cast<unsigned long long>(result.wrong), static_cast<unsigned long long>(result.failed),
              static_cast<unsigned long long>(result.refused), unanswered);
  std::printf("\"retransmitted\": %llu, \"given_up\": %llu, \"late_max\": %llu, ",
              static_cast<unsigned long long>(counters.segments_retransmitted),
              static_cast<unsigned long long>(result.given_up), static_cast<unsigned long long>(result.late_max));
  std::printf("\"latency_us\": {\"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"p99.9\": %.2f, \"max\": %.2f}}\n",
              result.latency.percentile_us(0.5), result.latency.percentile_us(0.9), result.latency.percentile_us(0.99),
              result.latency.percentile_us(0.999), result.latency.max_us());
}

int ask(const Options& options, PacketDevice& port, const MacAddress& mac) {
  RealClock clock;
  NetStack stack(net_config(options, mac), port, clock.now());
  LoadClients clients(stack, options.plan);
  const MonoTime begin = clock.now();
  while (clients.result().requests == 0) {
    (void)clients.turn(clock.now());
    if (clock.now() - begin > seconds(static_cast<int64_t>(options.patience))) {
      const NetCounters& counters = stack.counters();
      die("nobody answers: " + std::to_string(counters.frames_sent) + " frames sent, " +
          std::to_string(counters.frames_refused) + " refused by the port, " +
          std::to_string(counters.frames_received) + " received");
    }
  }
  const MonoTime counted_from = clock.now() + seconds(static_cast<int64_t>(options.warmup));
  while (clock.now() < counted_from && !ended) (void)clients.turn(clock.now());
  std::printf("counting\n");
  std::fflush(stdout);
  clients.start_counting();
  const MonoTime start = clock.now();
  const MonoTime until = start + seconds(static_cast<int64_t>(options.seconds));
  uint64_t turns = 0;
  uint64_t busy = 0;
  MonoTime now = start;
  for (; now < until && !ended; now = clock.now()) {
    ++turns;
    busy += clients.turn(now) ? 1 : 0;
  }
  const LoadResult result = clients.result();
  clients.stop();
  // What is under way is waited for: an answer that never comes is an error.
  for (const MonoTime limit = now + seconds(2); clients.asked() != 0 && now < limit; now = clock.now())
    (void)clients.turn(now);
  const uint32_t unanswered = clients.asked();
  clients.hang_up();
  for (const MonoTime limit = clock.now() + milliseconds(20); clock.now() < limit;) (void)clients.turn(clock.now());
  print(result, until - start, static_cast<double>(busy) / static_cast<double>(turns == 0 ? 1 : turns), unanswered,
        stack.counters());
  return result.wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const auto end = [](int) { ended = true; };
  std::signal(SIGTERM, end);
  std::signal(SIGINT, end);
  DpdkEalConfig eal = options.eal;
  eal.memory_mb = DpdkPort::memory_mb(options.port);
  if (const Status started = start_dpdk(eal); !started) die(started.error().message);
  auto port = DpdkPort::open(options.port);
  if (!port) die(port.error().message);
  if (!options.reflect && !(*port)->wait_for_link(seconds(static_cast<int64_t>(options.patience))))
    die("no link: is there a server at the other end?");
  std::vector<PacketDevice*> queues;
  for (size_t i = 0; i < options.port.queues; ++i) queues.push_back(&(*port)->queue(i));
  AllQueues all(queues, options.astray);
  PacketDevice& device = queues.size() == 1 ? *queues[0] : all;
  device.start();
  if (!options.reflect) return ask(options, device, (*port)->mac());
  Reflector reflector(device, (*port)->mac(), options.own, options.plan.body);
  std::printf("reflecting\n");
  std::fflush(stdout);
  while (!ended) reflector.turn();
  return 0;
}
