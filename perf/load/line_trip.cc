// line_trip: how far two cores are from one another, as the time in which one cache line goes from the one to the
// other and back.
//
//   line_trip CORE CORE
//
// Prints nanoseconds, the median of BLOCKS times TRIPS trips (each of which the other core answers by a store to the
// same line). Cores that share a cache need some 50 to 100; those that do not, 200 to 600. A virtual machine's cores
// may be moved from the one kind to the other while it runs, which doubles what a ring between two processes costs.
#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <sched.h>
#include <string_view>
#include <thread>

namespace {

constexpr int BLOCKS = 41;
constexpr uint32_t TRIPS = 2'000;
constexpr uint32_t ALL = BLOCKS * TRIPS;

struct alignas(128) Line {        // with its neighbour, which is fetched along
  std::atomic<uint32_t> turn{0};  // even: the first core's
};

bool pin(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  return ::sched_setaffinity(0, sizeof cores, &cores) == 0;
}

bool is_number(std::string_view text, int& number) {
  return std::from_chars(text.data(), text.data() + text.size(), number).ptr == text.data() + text.size();
}

void wait_for(const Line& line, uint32_t turn) {
  while (line.turn.load(std::memory_order_acquire) != turn) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  int near = 0;
  int far = 0;
  if (argc != 3 || !is_number(argv[1], near) || !is_number(argv[2], far)) {
    std::fprintf(stderr, "usage: line_trip CORE CORE\n");
    return 2;
  }
  if (near == far || !pin(near)) {
    std::fprintf(stderr, "line_trip: needs two cores that this process may use\n");
    return 1;
  }
  Line line;
  std::atomic<bool> there{true};
  std::thread other([&] {
    if (!pin(far)) {
      there = false;
      return;
    }
    for (uint32_t i = 0; i < ALL; ++i) {
      wait_for(line, 2 * i + 1);
      line.turn.store(2 * i + 2, std::memory_order_release);
    }
  });
  std::array<double, BLOCKS> ns;
  for (uint32_t block = 0; block < BLOCKS && there; ++block) {
    const auto start = std::chrono::steady_clock::now();
    for (uint32_t i = block * TRIPS; i < (block + 1) * TRIPS && there; ++i) {
      line.turn.store(2 * i + 1, std::memory_order_release);
      while (line.turn.load(std::memory_order_acquire) != 2 * i + 2 && there.load(std::memory_order_relaxed)) {
      }
    }
    ns[block] = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / TRIPS;
  }
  other.join();
  if (!there) {
    std::fprintf(stderr, "line_trip: no leave to run on core %d\n", far);
    return 1;
  }
  std::nth_element(ns.begin(), ns.begin() + BLOCKS / 2, ns.end());
  std::printf("%.0f\n", ns[BLOCKS / 2]);
  return 0;
}
