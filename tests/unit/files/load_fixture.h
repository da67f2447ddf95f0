// LoadFixture: a real directory, a real reader and watch, and a loader that is driven until it answers.
#pragma once

#include "cache/body.h"
#include "cache/ledger.h"
#include "cache/validity.h"
#include "src/base/clock.h"
#include "src/files/inotify_watch.h"
#include "src/files/loader.h"
#include "src/files/thread_file_reader.h"
#include "tests/support/hand_clock.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <memory>
#include <poll.h>
#include <string>

namespace penstock {

class LoadFixture : public testing::Test {
 protected:
  LoadFixture() {
    worker.start(1);
    reader = std::make_unique<ThreadFileReader>(worker);
    policy.mime = &mime;
    policy.index_names = {"index.html", "index.htm"};
    // The clock of the watch and of the loader is moved by hand and stands an hour past the files' time
    // stamps: nothing is "young" unless a test says so.
    clock.set_wall(RealClock().wall() + seconds(3600));
    auto made = InotifyWatch::create(cells, clock, watch_options);
    EXPECT_TRUE(made.has_value());
    watch = std::move(*made);
    loader = std::make_unique<Loader>(*reader, bodies, watch.get(), 16);
  }
  ~LoadFixture() override {
    loader.reset();
    EXPECT_EQ(bodies.bodies(), kept);
  }

  [[nodiscard]] RootDir root() const { return {dir.fd(), dir.path().c_str()}; }

  bool start(std::string_view path, bool admit, uint64_t token = 1) {
    const std::string url = "/" + std::string(path);
    return loader->start({.root = root(), .path = path, .url_path = url, .policy = &policy, .admit = admit}, token,
                         clock.now());
  }

  // Drives the loader until it has one result; waits for real descriptors, moves the hand clock to
  // where the loader wants to be woken.
  LoadResult next() {
    LoadResult result;
    for (int i = 0; i < 100'000; ++i) {
      if (loader->poll(clock.now(), clock.wall(), {&result, 1}) == 1) return result;
      const MonoTime due = loader->next_due();
      if (due <= clock.now()) continue;
      if (due != MonoTime::never()) {
        clock.advance(due - clock.now());
        continue;
      }
      pollfd wake{.fd = reader->wake_fd(), .events = POLLIN, .revents = 0};
      (void)::poll(&wake, 1, 1000);
    }
    ADD_FAILURE() << "the loader never answers";
    return result;
  }

  // Drives the loader for `time` of the hand clock: whether it has a result (which is lost) by then.
  bool answers_within(Duration time) {
    const MonoTime end = clock.now() + time;
    LoadResult result;
    while (clock.now() < end) {
      if (loader->poll(clock.now(), clock.wall(), {&result, 1}) == 1) {
        result.discard(*reader);
        return true;
      }
      clock.advance(milliseconds(1));
    }
    return false;
  }

  LoadResult load(std::string_view path, bool admit = true) {
    EXPECT_TRUE(start(path, admit));
    return next();
  }

  static std::string text(const LoadResult& result, uint32_t variant = 0) {
    return variant < result.variant_count && result.variants[variant].body != nullptr
               ? std::string(result.variants[variant].body->view())
               : std::string();
  }
  // Kind only, giving everything back.
  LoadKind kind(std::string_view path, bool admit = true) {
    LoadResult result = load(path, admit);
    result.discard(*reader);
    return result.kind;
  }

  // Takes in what the kernel has queued; the events of this thread's own changes are there already.
  void take_events() { (void)watch->turn(Duration{0}); }

  TempDir dir;
  HandClock clock;
  ValidityTable cells{1024};
  MemoryLedger ledger;
  BodyStore bodies{ledger, BodyLimits{}};
  MimeTypes types{""};
  MimeTable mime{types, {}, "", "utf-8"};
  WatchOptions watch_options;
  LoadPolicy policy;
  FileWorker worker;
  std::unique_ptr<FileReader> reader;
  std::unique_ptr<InotifyWatch> watch;
  std::unique_ptr<Loader> loader;
  uint64_t kept = 0;
};

}  // namespace penstock
