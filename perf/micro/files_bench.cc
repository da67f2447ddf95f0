// What a cold load costs beside the bare system calls it cannot do without, on files that are in the
// page cache: open, fstat, read, fstat, close by hand; by the loader unwatched (first request); by the
// loader watched (to be cached), when the watch stands already and when it must be placed anew. And a
// listing of 10^4 entries (bar: 30 ms).
#include "cache/body.h"
#include "cache/ledger.h"
#include "cache/validity.h"
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/files/inotify_watch.h"
#include "src/files/loader.h"
#include "src/files/thread_file_reader.h"

#include <benchmark/benchmark.h>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

// A directory three levels deep with one file of each size, and one with many.
struct Place {
  Place() {
    char name[] = "/tmp/penstock_bench_XXXXXX";
    ASSERT(::mkdtemp(name) != nullptr);
    path = name;
    std::filesystem::create_directories(path + "/a/b/many");
    for (const size_t size : {1U << 10, 64U << 10, 1U << 20}) write("a/b/" + std::to_string(size), size);
    for (int i = 0; i < 10'000; ++i) write("a/b/many/a file with a name of some length " + std::to_string(i), 0);
    fd.reset(::open(name, O_PATH | O_DIRECTORY | O_CLOEXEC));
    reader = std::make_unique<ThreadFileReader>(worker);
    worker.start(1);
    watch = std::move(*InotifyWatch::create(cells, clock, {}));
    loader = std::make_unique<Loader>(*reader, bodies, watch.get(), 16);
    policy.listing = true;
    policy.mime = &mime;
  }
  ~Place() {
    loader.reset();
    std::filesystem::remove_all(path);
  }
  void write(const std::string& name, size_t size) const {
    const UniqueFd file(::open((path + "/" + name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    const std::string bytes(size, 'x');
    ASSERT(::write(file.get(), bytes.data(), size) == static_cast<ssize_t>(size));
  }

  LoadResult load(std::string_view name, bool admit) {
    // An hour later: everything has settled.
    const WallTime wall = clock.wall() + seconds(3600);
    (void)loader->start({.root = {fd.get(), path.c_str()}, .path = name, .policy = &policy, .admit = admit}, 1, {});
    LoadResult result;
    while (loader->poll(clock.now(), wall, {&result, 1}) == 0) {
      if (loader->next_due() <= clock.now()) continue;
      pollfd wake{.fd = reader->wake_fd(), .events = POLLIN, .revents = 0};
      (void)::poll(&wake, 1, 1000);
    }
    return result;
  }

  std::string path;
  UniqueFd fd;
  RealClock clock;
  ValidityTable cells{1024};
  MemoryLedger ledger;
  BodyStore bodies{ledger, BodyLimits{}};
  MimeTypes types{""};
  MimeTable mime{types, {}, "", "utf-8"};
  LoadPolicy policy;
  FileWorker worker;
  std::unique_ptr<FileReader> reader;
  std::unique_ptr<InotifyWatch> watch;
  std::unique_ptr<Loader> loader;
};

Place& place() {
  static Place the_place;
  return the_place;
}

void by_hand(benchmark::State& state) {
  const std::string name = place().path + "/a/b/" + std::to_string(state.range(0));
  const auto buffer = std::make_unique<char[]>(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    const UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat st {};
    benchmark::DoNotOptimize(::fstat(fd.get(), &st));
    benchmark::DoNotOptimize(::pread(fd.get(), buffer.get(), static_cast<size_t>(state.range(0)), 0));
    benchmark::DoNotOptimize(::fstat(fd.get(), &st));
  }
}
BENCHMARK(by_hand)->Arg(1 << 10)->Arg(64 << 10)->Arg(1 << 20);

void load_unwatched(benchmark::State& state) {
  const std::string name = "a/b/" + std::to_string(state.range(0));
  place().policy.sendfile_bytes_min = UINT64_MAX;
  for (auto _ : state) place().load(name, false).discard(*place().reader);
}
BENCHMARK(load_unwatched)->Arg(1 << 10)->Arg(64 << 10)->Arg(1 << 20);

void load_watched_already(benchmark::State& state) {
  const std::string name = "a/b/" + std::to_string(state.range(0));
  for (auto _ : state) place().load(name, true).discard(*place().reader);
  (void)place().watch->turn({});
}
BENCHMARK(load_watched_already)->Arg(1 << 10)->Arg(64 << 10)->Arg(1 << 20);

void load_and_place_watch(benchmark::State& state) {
  const std::string name = "a/b/" + std::to_string(state.range(0));
  for (auto _ : state) {
    LoadResult result = place().load(name, true);
    place().watch->forget(result.validity);
    result.discard(*place().reader);
  }
  (void)place().watch->turn({});
}
BENCHMARK(load_and_place_watch)->Arg(1 << 10)->Arg(64 << 10)->Arg(1 << 20);

void list_10k(benchmark::State& state) {
  place().policy.listing_format = state.range(0) == 0 ? ListingFormat::HTML : ListingFormat::JSON;
  for (auto _ : state) place().load("a/b/many/", false).discard(*place().reader);
}
BENCHMARK(list_10k)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
