// The hostile writer (FEATURES SC6): one thread changes files in every way, two readers do what
// reactors do (look up, load on a miss, keep what is cacheable), and every body is checked.
//
// Real time, real inotify. Thirty seconds; PENSTOCK_COHERENCE_SECONDS=600 for the long run,
// PENSTOCK_COHERENCE_SEED=… for the writer and readers of an earlier one (not its schedule).
#include "cache/body.h"
#include "cache/ledger.h"
#include "cache/validity.h"
#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/files/inotify_watch.h"
#include "src/files/loader.h"
#include "src/files/thread_file_reader.h"
#include "tests/coherence/file_history.h"
#include "tests/coherence/hostile_writer.h"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <mutex>
#include <poll.h>
#include <sys/eventfd.h>
#include <thread>
#include <unordered_map>
#include <vector>

namespace penstock {
namespace {

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  const auto wanted = text == nullptr ? std::optional<uint64_t>() : parse_decimal(text);
  return wanted.value_or(otherwise);
}

struct Tally {
  uint64_t answers = 0, hits = 0, loads = 0, uncached = 0, unavailable = 0;
  uint64_t broken = 0;  // cut, mixed, or never a state of the file
  uint64_t wrong = 0;   // an error that cannot be
  std::string example;
  std::array<std::vector<int64_t>, CHANGES> stale_ns;
  int64_t slowest_load_ns = 0;
};

// One reactor's worth: a loader of its own and a map of entries.
class Reader {
 public:
  Reader(const TempDir& root, HostileWriter& writer, FileWorker& worker, BodyStore& bodies, ValidityTable& cells,
         InotifyWatch& watch, uint64_t seed)
      : root_(root),
        writer_(writer),
        cells_(cells),
        reader_(worker),
        loader_(reader_, bodies, &watch, 4),
        random_(seed) {}
  ~Reader() {
    for (auto& [path, entry] : entries_) entry.body->unpin();
  }

  void run(const std::atomic<bool>& stop) {
    while (!stop.load(std::memory_order_relaxed)) request(random_.below(HostileWriter::FILES));
  }

  Tally tally;

 private:
  struct Entry {
    Body* body;
    Validity validity;
  };

  std::string some_path(size_t file) {
    // Or the same file through a symbolic link.
    return (random_.one_in(3) ? "linked/" : "") + HostileWriter::name(file);
  }

  bool hit(size_t file, const std::string& path) {
    const int64_t asked = clock_.now().ns;
    const auto found = entries_.find(path);
    if (found == entries_.end() || !cells_.fresh(found->second.validity)) return false;
    ++tally.answers;
    ++tally.hits;
    check(file, found->second.body->view(), asked, "hit");
    return true;
  }

  void request(size_t file) {
    const std::string path = some_path(file);
    if (hit(file, path)) return;
    const int64_t asked = clock_.now().ns;
    ++tally.answers;
    LoadResult result = load(path);
    tally.slowest_load_ns = std::max(tally.slowest_load_ns, clock_.now().ns - asked);
    ++tally.loads;
    if (result.kind == LoadKind::FILE) {
      check(file, result.variants[0].body->view(), asked, result.cacheable ? "load" : "uncached load");
      keep(path, result);
    } else if (result.kind == LoadKind::CHANGED) {
      ++tally.unavailable;
    } else if (result.kind != LoadKind::NOT_FOUND || !writer_.history(file).may_be_absent(asked)) {
      ++tally.wrong;
      tally.example = path + ": " + std::string(load_kind_sentence(result.kind));
    }
    result.discard(reader_);
  }

  void keep(const std::string& path, LoadResult& result) {
    if (!result.cacheable) {
      ++tally.uncached;
      return;
    }
    Body* body = std::exchange(result.variants[0].body, nullptr);
    const auto [entry, added] = entries_.try_emplace(path, Entry{body, result.validity});
    if (added) return;
    entry->second.body->unpin();
    entry->second = {body, result.validity};
  }

  LoadResult load(const std::string& path) {
    const RootDir root{root_.fd(), root_.path().c_str()};
    EXPECT_TRUE(loader_.start({.root = root, .path = path, .policy = &policy_, .admit = true}, 1, clock_.now()));
    LoadResult result;
    for (;;) {
      const WallTime wall = clock_.wall();
      const MonoTime now = clock_.now();
      if (loader_.poll(now, wall, {&result, 1}) == 1) return result;
      if (loader_.next_due() <= now) continue;
      // A reactor goes on answering meanwhile.
      const size_t other = random_.below(HostileWriter::FILES);
      (void)hit(other, some_path(other));
    }
  }

  void check(size_t file, std::string_view body, int64_t asked, const char* how) {
    const auto state = recognise(body);
    const auto verdict = state ? writer_.history(file).judge(*state, asked) : FileHistory::Verdict{};
    if (!verdict.known) {
      ++tally.broken;
      tally.example = std::string(how) + " during " + writer_.last_step(file) + " of " + HostileWriter::name(file) +
                      ": " + std::to_string(body.size()) + " bytes" +
                      (state ? ", version " + std::to_string(state->version) : ", mixed") + ", beginning " +
                      std::string(body.substr(0, 24));
      return;
    }
    if (verdict.stale_ns > 0) tally.stale_ns[static_cast<size_t>(verdict.replaced_by)].push_back(verdict.stale_ns);
  }

  const TempDir& root_;
  HostileWriter& writer_;
  const ValidityTable& cells_;
  RealClock clock_;
  MimeTypes types_{""};
  MimeTable mime_{types_, {}, "", ""};
  LoadPolicy policy_{.mime = &mime_};
  ThreadFileReader reader_;
  Loader loader_;
  Prng random_;
  std::unordered_map<std::string, Entry> entries_;
};

// How late this machine runs a thread that is ready: the watch thread is as late as that through no fault of ours.
int64_t worst_wake_up_ns(const std::atomic<bool>& stop) {
  RealClock clock;
  int64_t worst = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    const int64_t due = clock.now().ns + milliseconds(1).ns;
    (void)::poll(nullptr, 0, 1);
    worst = std::max(worst, clock.now().ns - due);
  }
  return worst;
}

int64_t percentile(std::vector<int64_t>& sorted, double part) {
  return sorted.empty() ? 0 : sorted[static_cast<size_t>(part * static_cast<double>(sorted.size() - 1))];
}

TEST(Coherence, a_hostile_writer_never_gets_a_torn_or_stale_body_served) {
  const TempDir root;
  const TempDir outside;
  root.link_to(".", "linked");
  const uint64_t seed = setting("PENSTOCK_COHERENCE_SEED", static_cast<uint64_t>(RealClock().wall().ns));
  HostileWriter writer(root, outside, seed);
  ValidityTable cells(4096);
  MemoryLedger ledger;
  BodyStore bodies(ledger, {});
  RealClock clock;
  auto watch = InotifyWatch::create(cells, clock, {});
  ASSERT_TRUE(watch.has_value()) << watch.error().message;
  const UniqueFd stop_watching(::eventfd(0, EFD_CLOEXEC));
  std::thread watcher([&] { (*watch)->run(stop_watching.get()); });

  std::atomic<bool> stop_writing{false};
  std::atomic<bool> stop_reading{false};
  std::vector<Tally> tallies(2);
  int64_t lateness_ns = 0;
  std::thread metronome([&] { lateness_ns = worst_wake_up_ns(stop_reading); });
  {
    FileWorker worker;
    worker.start(1);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < tallies.size(); ++i) {
      threads.emplace_back([&, i] {
        Reader reader(root, writer, worker, bodies, cells, **watch, seed + i + 1);
        reader.run(stop_reading);
        tallies[i] = std::move(reader.tally);
      });
    }
    std::thread writing([&] { writer.run(stop_writing); });
    (void)::poll(nullptr, 0, static_cast<int>(1000 * setting("PENSTOCK_COHERENCE_SECONDS", 30)));
    stop_writing = true;
    writing.join();
    stop_reading = true;
    for (std::thread& thread : threads) thread.join();
  }
  const uint64_t one = 1;
  ASSERT_EQ(::write(stop_watching.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  watcher.join();
  metronome.join();

  Tally all;
  for (Tally& tally : tallies) {
    all.answers += tally.answers;
    all.hits += tally.hits;
    all.loads += tally.loads;
    all.uncached += tally.uncached;
    all.unavailable += tally.unavailable;
    all.broken += tally.broken;
    all.wrong += tally.wrong;
    if (!tally.example.empty()) all.example = tally.example;
    all.slowest_load_ns = std::max(all.slowest_load_ns, tally.slowest_load_ns);
    for (size_t i = 0; i < CHANGES; ++i) {
      all.stale_ns[i].insert(all.stale_ns[i].end(), tally.stale_ns[i].begin(), tally.stale_ns[i].end());
    }
  }
  const WatchCounters counters = (*watch)->counters();
  std::printf(
      "seed %llu: %llu changes, %llu answers: %llu hits, %llu loads (%llu not cached, %llu unavailable), "
      "slowest load %.1f ms\n",
      static_cast<unsigned long long>(seed), static_cast<unsigned long long>(writer.changes()),
      static_cast<unsigned long long>(all.answers), static_cast<unsigned long long>(all.hits),
      static_cast<unsigned long long>(all.loads), static_cast<unsigned long long>(all.uncached),
      static_cast<unsigned long long>(all.unavailable), static_cast<double>(all.slowest_load_ns) / 1e6);
  std::printf("watch: %llu events, %llu bumps, %llu overflows, %llu refused\n",
              static_cast<unsigned long long>(counters.events), static_cast<unsigned long long>(counters.bumps),
              static_cast<unsigned long long>(counters.overflows), static_cast<unsigned long long>(counters.refused));
  for (size_t i = 0; i < CHANGES; ++i) {
    std::sort(all.stale_ns[i].begin(), all.stale_ns[i].end());
    std::printf("stale after %s: %zu answers, p50 %.3f ms, p99 %.3f ms, max %.3f ms\n", CHANGE_NAMES[i],
                all.stale_ns[i].size(), static_cast<double>(percentile(all.stale_ns[i], 0.5)) / 1e6,
                static_cast<double>(percentile(all.stale_ns[i], 0.99)) / 1e6,
                static_cast<double>(percentile(all.stale_ns[i], 1.0)) / 1e6);
  }
  std::printf("worst wake-up of a thread on this machine: %.3f ms late\n", static_cast<double>(lateness_ns) / 1e6);
  const auto worst = [&all](Change change) { return percentile(all.stale_ns[static_cast<size_t>(change)], 1.0); };
  EXPECT_EQ(all.broken, 0U) << all.example;
  EXPECT_EQ(all.wrong, 0U) << all.example;
  EXPECT_GT(all.hits, all.loads) << "the entries are never used";
  EXPECT_LE(worst(Change::RENAME), milliseconds(10).ns + lateness_ns);
  EXPECT_LE(worst(Change::IN_PLACE), milliseconds(50).ns + lateness_ns);
  EXPECT_LE(worst(Change::TRUNCATE), milliseconds(50).ns + lateness_ns);
}

}  // namespace
}  // namespace penstock
