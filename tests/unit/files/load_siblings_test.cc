// Precompressed siblings of what is not to be cached: found as soon as they are there, and not looked for where the
// directory is known to have none.
#include "tests/unit/files/load_fixture.h"

#include <map>
#include <vector>

namespace penstock {
namespace {

// Counts what is opened, and how often a directory is read for its suffixes.
class CountingReader final : public FileReader {
 public:
  explicit CountingReader(FileReader& inner) : inner_(inner) {}
  [[nodiscard]] const char* name() const override { return inner_.name(); }
  [[nodiscard]] bool submit(const FileOp& op, uint64_t token) override {
    if (op.kind == FileOpKind::OPEN) ++opens;
    if (op.kind == FileOpKind::SUFFIXES) ++scans;
    return inner_.submit(op, token);
  }
  [[nodiscard]] size_t poll(std::span<FileCompletion> out) override { return inner_.poll(out); }
  [[nodiscard]] int wake_fd() const override { return inner_.wake_fd(); }
  [[nodiscard]] int stat(int fd, FileInfo& info) override { return inner_.stat(fd, info); }
  void close(int fd) override { inner_.close(fd); }
  [[nodiscard]] const FileReaderCounters& counters() const override { return inner_.counters(); }

  int opens = 0;
  int scans = 0;

 private:
  FileReader& inner_;
};

class Siblings : public LoadFixture {
 protected:
  Siblings() {
    dir.make_dir("d");
    policy.precompressed = ACCEPT_GZIP | ACCEPT_BR | ACCEPT_ZSTD;
    loader = std::make_unique<Loader>(counting, bodies, watch.get(), 16);
  }
  ~Siblings() override { loader.reset(); }

  // The codings that a load of `path` finds, and how many files it opened.
  std::vector<Coding> codings(std::string_view path) {
    counting.opens = 0;
    LoadResult result = load(path, /*admit=*/false);
    std::vector<Coding> found;
    for (uint32_t i = 1; i < result.variant_count; ++i) found.push_back(result.variants[i].coding);
    result.discard(counting);
    return found;
  }
  void know(std::string_view path) {
    for (int i = 0; i < 3; ++i) (void)codings(path);
  }
  // Until the file system stamps a change with a time that is later by more than `settle`.
  void pass_a_tick() {
    int64_t first = 0;
    for (FileInfo info; first == 0 || info.ctime_ns <= first + policy.settle.ns;) {
      dir.write("tick", "t");
      ASSERT_EQ(read_file_info_at(dir.fd(), "tick", info), 0);
      if (first == 0) first = info.ctime_ns;
    }
  }

  CountingReader counting{*reader};
};

using Codings = std::vector<Coding>;

TEST_F(Siblings, are_found_whether_the_directory_is_known_or_not) {
  dir.write("a.txt", std::string(100, 'a'));
  dir.write("a.txt.gz", "z");
  dir.write("a.txt.br", "b");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(codings("a.txt"), (Codings{Coding::BR, Coding::GZIP})) << "load " << i;
  EXPECT_EQ(counting.opens, 3) << "no name here ends in .zst";
  EXPECT_EQ(counting.scans, 1);
}

TEST_F(Siblings, are_not_looked_for_where_there_are_none) {
  dir.write("d/a.txt", "a");
  EXPECT_EQ(codings("d/a.txt"), Codings{});
  EXPECT_EQ(counting.opens, 1);
  EXPECT_EQ(codings("d/a.txt"), Codings{});
  EXPECT_EQ(counting.opens, 1);
  EXPECT_EQ(counting.scans, 1);
}

TEST_F(Siblings, are_found_at_once_when_they_come_and_missed_when_they_go) {
  dir.write("d/a.txt", std::string(100, 'a'));
  pass_a_tick();
  know("d/a.txt");
  dir.write("d/a.txt.gz", "z");
  EXPECT_EQ(codings("d/a.txt"), Codings{Coding::GZIP});
  pass_a_tick();
  know("d/a.txt");
  dir.write("d/other", "o");
  ASSERT_EQ(::rename(dir.at("d/other").c_str(), dir.at("d/a.txt.zst").c_str()), 0);
  EXPECT_EQ(codings("d/a.txt"), (Codings{Coding::GZIP, Coding::ZSTD}));
  ASSERT_EQ(::unlink(dir.at("d/a.txt.gz").c_str()), 0);
  EXPECT_EQ(codings("d/a.txt"), Codings{Coding::ZSTD});
}

TEST_F(Siblings, are_found_in_a_directory_that_took_the_place_of_a_known_one) {
  dir.write("d/a.txt", std::string(100, 'a'));
  dir.make_dir("new");
  dir.write("new/a.txt", std::string(100, 'n'));
  dir.write("new/a.txt.gz", "z");
  know("d/a.txt");
  ASSERT_EQ(::rename(dir.at("d").c_str(), dir.at("old").c_str()), 0);
  ASSERT_EQ(::rename(dir.at("new").c_str(), dir.at("d").c_str()), 0);
  EXPECT_EQ(codings("d/a.txt"), Codings{Coding::GZIP});
}

TEST_F(Siblings, are_looked_for_in_a_directory_that_has_just_changed) {
  dir.write("d/a.txt", "a");
  pass_a_tick();
  dir.write("d/other", "o");
  FileInfo info;
  ASSERT_EQ(read_file_info_at(dir.fd(), "d", info), 0);
  clock.set_wall(WallTime{info.ctime_ns} + policy.settle / 2);
  know("d/a.txt");
  EXPECT_EQ(codings("d/a.txt"), Codings{});
  EXPECT_EQ(counting.opens, 4) << "its next version could have the same time stamp";
  EXPECT_EQ(counting.scans, 0);
}

TEST_F(Siblings, are_looked_for_where_a_link_leads_to_the_directory) {
  dir.write("d/a.txt", std::string(100, 'a'));
  dir.write("d/a.txt.gz", "z");
  dir.link_to("d", "link");
  know("link/a.txt");
  EXPECT_EQ(codings("link/a.txt"), Codings{Coding::GZIP});
  EXPECT_EQ(counting.opens, 4);
}

TEST_F(Siblings, are_looked_for_in_a_directory_too_large_to_read_for_it) {
  for (int i = 0; i < 4200; ++i) dir.write("d/" + std::to_string(i), "x");
  know("d/1");
  EXPECT_EQ(codings("d/1"), Codings{});
  EXPECT_EQ(counting.opens, 4);
  EXPECT_EQ(counting.scans, 1) << "and it is not tried again";
}

TEST_F(Siblings, of_what_is_to_be_cached_are_each_looked_for) {
  dir.write("d/a.txt", "a");
  know("d/a.txt");
  counting.opens = 0;
  LoadResult result = load("d/a.txt", /*admit=*/true);
  EXPECT_TRUE(result.cacheable);
  EXPECT_EQ(counting.opens, 5) << "one to see what it is, then all under the watch";
  result.discard(counting);
}

}  // namespace
}  // namespace penstock
