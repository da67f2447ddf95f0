#include "src/admin/exposure.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

WorkerSandbox closed() {
  WorkerSandbox sandbox;
  sandbox.identity = SandboxIdentity{1, 1};
  sandbox.tier = WorkerTier::NS;
  sandbox.read_paths = {"/srv/app"};
  sandbox.write_paths = {"/var/lib/state"};
  sandbox.execute_paths = {"/usr/bin/app"};
  sandbox.limits.processes = 10;
  return sandbox;
}

Exposure of(const WorkerSandbox& sandbox) { return exposure_of(sandbox, "/var/lib/state", false); }

TEST(Exposure, is_nothing_where_all_is_closed) {
  EXPECT_EQ(of(closed()).tenths(), 0U);
  EXPECT_EQ(of(closed()).level(), "safe");
}

TEST(Exposure, grows_by_each_thing_that_is_opened_and_names_it) {
  struct Case {
    void (*open)(WorkerSandbox&);
    const char* what;
  };
  const Case cases[] = {
      {[](WorkerSandbox& s) { s.identity.reset(); }, "user of the server"},
      {[](WorkerSandbox& s) { s.tier = WorkerTier::UNSHARED; }, "names of all files"},
      {[](WorkerSandbox& s) { s.network = WorkerNetwork::UNIX; }, "unix sockets"},
      {[](WorkerSandbox& s) { s.network = WorkerNetwork::CLIENT; }, "any address"},
      {[](WorkerSandbox& s) { s.syscalls = WorkerSyscalls::FULL; }, "starts programs"},
      {[](WorkerSandbox& s) { s.read_paths.emplace_back("/"); }, "reads all"},
      {[](WorkerSandbox& s) { s.write_paths.emplace_back("/srv/more"); }, "beyond its state"},
      {[](WorkerSandbox& s) { s.execute_paths.emplace_back("/var/lib/state/bin"); }, "executes what it can write"},
      {[](WorkerSandbox& s) { s.limits.processes = 0; }, "limit of processes"},
      {[](WorkerSandbox& s) { s.limits.core = 1; }, "core files"},
  };
  for (const Case& one : cases) {
    WorkerSandbox sandbox = closed();
    one.open(sandbox);
    const Exposure exposure = of(sandbox);
    ASSERT_EQ(exposure.items.size(), 1U) << one.what;
    EXPECT_NE(exposure.items[0].what.find(one.what), std::string::npos) << exposure.items[0].what;
    EXPECT_GT(exposure.tenths(), 0U);
  }
}

TEST(Exposure, is_ten_at_most) {
  WorkerSandbox sandbox;
  sandbox.tier = WorkerTier::LANDLOCK;
  sandbox.syscalls = WorkerSyscalls::FULL;
  sandbox.network = WorkerNetwork::CLIENT;
  sandbox.read_paths = sandbox.write_paths = sandbox.execute_paths = {"/"};
  EXPECT_EQ(exposure_of(sandbox, "", true).tenths(), EXPOSURE_TENTHS_MAX);
  EXPECT_EQ(exposure_of(sandbox, "", true).level(), "exposed");
}

}  // namespace
}  // namespace penstock
