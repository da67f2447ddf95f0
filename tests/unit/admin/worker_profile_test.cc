#include "src/admin/worker_profile.h"

#include "src/config/tree.h"

#include <gtest/gtest.h>
#include <set>

namespace penstock {
namespace {

using Words = std::vector<std::string>;

Settings settings_of(const std::string& text) {
  auto tree = Tree::from_text(text, "t.conf");
  EXPECT_TRUE(tree) << text << (tree ? "" : to_text(tree.error()));
  return tree ? tree->settings() : Settings();
}

Result<WorkerProfile> try_profile(const std::string& text, const std::string& runtime = "/lib/penstock-x") {
  const Settings settings = settings_of(text);
  const PoolIds ids(settings);
  const auto identity = worker_identity(settings, settings.pools.at(0), ids, true);
  if (!identity) return std::unexpected(identity.error());
  return worker_profile(settings, settings.pools.at(0), *identity, runtime);
}

WorkerProfile profile_of(const std::string& text) {
  auto profile = try_profile(text);
  EXPECT_TRUE(profile) << profile.error().message;
  return profile ? *profile : WorkerProfile();
}

TEST(WorkerProfile, by_default_reads_the_application_and_writes_its_state) {
  const WorkerProfile profile = profile_of(
      "pool.p.app = /srv/a.so x 'y z'\npool.p.directory = /srv/p\npool.p.state = /var/p\npool.p.cpus = 0-1\n");
  EXPECT_EQ(profile.command, (Words{"/lib/penstock-x", "/srv/a.so", "x", "y z"}));
  EXPECT_EQ(profile.directory, "/srv/p");
  EXPECT_EQ(profile.state, "/var/p");
  const WorkerSandbox& sandbox = profile.sandbox;
  EXPECT_EQ(sandbox.read_paths, (Words{"/srv/p", "/srv/a.so"}));
  EXPECT_EQ(sandbox.write_paths, (Words{"/var/p"}));
  EXPECT_EQ(sandbox.execute_paths, (Words{"/lib/penstock-x"}));
  EXPECT_EQ(sandbox.syscalls, WorkerSyscalls::COMPUTE);
  EXPECT_EQ(sandbox.network, WorkerNetwork::NONE);
  EXPECT_EQ(sandbox.tier, WorkerTier::UNSHARED);
  EXPECT_EQ(sandbox.cpus, (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(sandbox.limits.files, 1024U);
  EXPECT_EQ(sandbox.limits.core, 0U);
  EXPECT_EQ(profile.environment,
            (Words{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/var/p", "TMPDIR=/var/p"}));
}

TEST(WorkerProfile, command_lines_of_the_runtimes) {
  EXPECT_EQ(profile_of("pool.p.runtime = external\npool.p.app = /bin/x -a\n").command.at(1), "/bin/x");
  EXPECT_EQ(
      profile_of("pool.p.runtime = cgi\npool.p.app = /srv/cgi/\npool.p.concurrency = 4\n"
                 "pool.p.interpreter.pl = /usr/bin/perl\npool.p.environment.A = b c\npool.p.program_cpu_max = 9\n")
          .command,
      (Words{"/lib/penstock-x", "--root", "/srv/cgi/", "--interpreter", "pl=/usr/bin/perl", "--concurrency", "4",
             "--cpu-seconds", "9", "--env", "A"}));
  EXPECT_EQ(profile_of("pool.p.runtime = cgi\npool.p.app = /usr/lib/x\npool.p.directory = /d\n").command,
            (Words{"/lib/penstock-x", "--root", "/d", "--program", "/usr/lib/x", "--concurrency", "16"}));
  EXPECT_EQ(profile_of("pool.p.runtime = fastcgi\npool.p.app = unix:/run/x\npool.p.directory = /d\n").command,
            (Words{"/lib/penstock-x", "--protocol", "fastcgi", "--connect", "unix:/run/x", "--root", "/d",
                   "--connections", "16"}));
  EXPECT_EQ(profile_of("pool.p.runtime = scgi\npool.p.app = unix:/x\npool.p.connections = 4\n").command.back(), "4");
  EXPECT_EQ(profile_of("pool.p.runtime = scgi\npool.p.app = unix:/x\npool.p.concurrency = 1024\n").command.back(),
            "500")
      << "the runtime takes no more";
  EXPECT_EQ(profile_of("pool.p.runtime = scgi\npool.p.app = unix:/run/a/x\n").sandbox.seen_paths, Words{"/run/a"})
      << "or in a root of its own there is no socket to connect to";
  EXPECT_EQ(
      profile_of("pool.p.runtime = fastcgi\npool.p.app = /usr/bin/php-cgi -q\n").command,
      (Words{"/lib/penstock-x", "--protocol", "fastcgi", "--start", "/usr/bin/php-cgi -q", "--connections", "16"}));
  EXPECT_EQ(profile_of("pool.p.runtime = http\npool.p.app = 127.0.0.1:80\npool.p.directory = /d\n").command,
            (Words{"/lib/penstock-x", "--protocol", "http", "--connect", "127.0.0.1:80", "--connections", "16"}));
  EXPECT_EQ(profile_of("pool.p.runtime = wsgi\npool.p.app = m.n:app\npool.p.directory = /d\n").command,
            (Words{"/lib/penstock-x", "--app", "m.n:app", "--directory", "/d", "--threads", "16"}));
}

TEST(WorkerProfile, variables_of_the_identity_and_the_password_field_reach_every_gateway) {
  const std::string given =
      "pool.p.identity = i\nidentity.i.environment.A = 1\nidentity.i.environment.B = 2\n"
      "pool.p.environment.A = 3\npool.p.environment.C = 4\npool.p.pass_authorization = 1\n";
  for (const char* app : {"cgi\npool.p.app = /usr/lib/x\n", "fastcgi\npool.p.app = /usr/bin/php-cgi\n"}) {
    const Words words = profile_of(std::string("pool.p.runtime = ") + app + given).command;
    ASSERT_GE(words.size(), 7U);
    EXPECT_EQ(Words(words.end() - 7, words.end()),
              (Words{"--env", "A", "--env", "B", "--env", "C", "--pass-authorization"}));
  }
}

TEST(WorkerProfile, what_runtimes_need_is_added_to_what_the_identity_allows) {
  struct Case {
    const char* text;
    WorkerSyscalls syscalls;
    WorkerNetwork network;
  };
  for (const Case& c : {
           Case{"pool.p.runtime = cgi\npool.p.app = /a\n", WorkerSyscalls::PROCESS, WorkerNetwork::NONE},
           Case{"pool.p.runtime = fastcgi\npool.p.app = /a\n", WorkerSyscalls::FULL, WorkerNetwork::UNIX},
           Case{"pool.p.runtime = fastcgi\npool.p.app = unix:/a\n", WorkerSyscalls::NETWORK, WorkerNetwork::UNIX},
           Case{"pool.p.runtime = fastcgi\npool.p.app = 127.0.0.1:9000\n", WorkerSyscalls::NETWORK,
                WorkerNetwork::CLIENT},
           Case{"pool.p.runtime = wsgi\npool.p.app = a:b\n", WorkerSyscalls::COMPUTE, WorkerNetwork::NONE},
           Case{"pool.p.app = /a\npool.p.identity = i\nidentity.i.network = client\n", WorkerSyscalls::NETWORK,
                WorkerNetwork::CLIENT},
           Case{"pool.p.runtime = cgi\npool.p.app = /a\npool.p.identity = i\nidentity.i.network = unix\n",
                WorkerSyscalls::FULL, WorkerNetwork::UNIX},
       }) {
    const WorkerProfile profile = profile_of(c.text);
    EXPECT_EQ(profile.sandbox.syscalls, c.syscalls) << c.text;
    EXPECT_EQ(profile.sandbox.network, c.network) << c.text;
  }
  EXPECT_EQ(profile_of("pool.p.runtime = cgi\npool.p.app = /a/\npool.p.interpreter.x = /b\npool.p.identity = i\n"
                       "identity.i.execute = /c\n")
                .sandbox.execute_paths,
            (Words{"/c", "/lib/penstock-x", "/a/", "/b"}));
}

TEST(WorkerProfile, the_environment_of_the_pool_comes_before_the_identitys) {
  const WorkerProfile profile = profile_of(
      "pool.p.app = /a\npool.p.identity = i\nidentity.i.environment.A = 1\nidentity.i.environment.B = 2\n"
      "pool.p.environment.A = 3\npool.p.environment.HOME = /h\n");
  EXPECT_EQ(profile.environment, (Words{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "B=2", "A=3", "HOME=/h"}));
}

TEST(WorkerProfile, an_application_that_its_runtime_cannot_take_is_refused) {
  EXPECT_FALSE(try_profile("pool.p.app = a.so\n"));
  EXPECT_FALSE(try_profile("pool.p.app = '/a\n"));
  EXPECT_FALSE(try_profile("pool.p.runtime = wsgi\npool.p.app = module\n"));
  EXPECT_FALSE(try_profile("pool.p.runtime = fastcgi\npool.p.app = php-cgi\n"));
  EXPECT_FALSE(try_profile("pool.p.app = /tmp/a\npool.p.identity = i\nidentity.i.private_tmp = 1\n"));
  EXPECT_FALSE(try_profile("pool.p.app = /a\npool.p.identity = i\nidentity.i.user = no-such-user\n"));
  EXPECT_FALSE(try_profile("pool.p.app = /a\npool.p.identity = i\nidentity.i.user = root\n"));
  EXPECT_FALSE(try_profile("pool.p.app = /a\npool.p.identity = i\nidentity.i.groups = root\n"));
}

TEST(WorkerProfile, a_named_identity_is_taken_with_its_groups) {
  const WorkerProfile profile = profile_of(
      "pool.p.app = /a\npool.p.identity = i\nidentity.i.user = 1234\nidentity.i.group = 77\n"
      "identity.i.groups = 78 79\n");
  EXPECT_EQ(profile.sandbox.identity->uid, 1234U);
  EXPECT_EQ(profile.sandbox.identity->gid, 77U);
  EXPECT_EQ(profile.sandbox.groups, (std::vector<gid_t>{78, 79}));
}

TEST(WorkerProfile, all_that_a_named_identity_says_is_in_the_sandbox) {
  const WorkerSandbox sandbox =
      profile_of(
          "pool.p.app = /a\npool.p.identity = i\npool.p.sandbox.tier = ns\nidentity.i.read = /r /s\n"
          "identity.i.write = /w\nidentity.i.execute = /x\nidentity.i.network = unix\nidentity.i.syscalls = process\n"
          "identity.i.private_tmp = 1\nidentity.i.files_max = 100\nidentity.i.processes_max = 10\n"
          "identity.i.address_space_max = 1g\nidentity.i.core_max = 1m\n")
          .sandbox;
  EXPECT_EQ(sandbox.read_paths, (Words{"/r", "/s", "/a"}));
  EXPECT_EQ(sandbox.write_paths, Words{"/w"});
  EXPECT_EQ(sandbox.execute_paths, (Words{"/x", "/lib/penstock-x"}));
  EXPECT_EQ(sandbox.network, WorkerNetwork::UNIX);
  EXPECT_EQ(sandbox.syscalls, WorkerSyscalls::FULL) << "processes, and sockets for its network";
  EXPECT_EQ(sandbox.tier, WorkerTier::NS);
  EXPECT_TRUE(sandbox.private_tmp);
  EXPECT_EQ(sandbox.limits.files, 100U);
  EXPECT_EQ(sandbox.limits.processes, 10U);
  EXPECT_EQ(sandbox.limits.address_space, 1ULL << 30);
  EXPECT_EQ(sandbox.limits.core, 1U << 20);
}

TEST(PoolIds, two_thousand_pools_have_numbers_of_their_own_which_stay) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "pool.p" + std::to_string(i) + ".app = x\n";
  const Settings settings = settings_of(text);
  const PoolIds ids(settings);
  std::set<uid_t> seen;
  for (const PoolSettings& pool : settings.pools) {
    const uid_t id = ids.of_pool(pool.name);
    EXPECT_TRUE(id >= POOL_IDS_FIRST && id - POOL_IDS_FIRST < POOL_IDS_COUNT);
    EXPECT_TRUE(seen.insert(id).second) << pool.name;
  }
  EXPECT_EQ(ids.of_pool("p7"), PoolIds(settings_of("pool.p7.app = x\n")).of_pool("p7"));
  EXPECT_EQ(ids.of_pool("p7"), 1'966'590'004U) << "a number that files on disks belong to must never change";
}

TEST(PoolIds, names_that_meet_take_the_next_free_number) {
  // Four names in a range of four: each number once, whatever the hashes.
  const auto ids = PoolIds::assign({"a", "b", "c", "d"}, 100, 4);
  EXPECT_EQ(std::set<uid_t>(ids.begin(), ids.end()), (std::set<uid_t>{100, 101, 102, 103}));
  EXPECT_EQ(PoolIds::assign({"a", "b", "c", "d"}, 100, 4), ids);
}

TEST(PoolIds, pools_of_one_identity_share_its_number) {
  const Settings settings = settings_of(
      "pool.a.app = x\npool.a.identity = i\npool.b.app = x\npool.b.identity = i\nidentity.i.network = unix\n");
  const PoolIds ids(settings);
  const auto a = worker_identity(settings, settings.pools[0], ids, true);
  const auto b = worker_identity(settings, settings.pools[1], ids, true);
  EXPECT_EQ(a->ids->uid, b->ids->uid);
  EXPECT_FALSE(worker_identity(settings, settings.pools[0], ids, false)->ids);
}

TEST(SplitCommand, keeps_what_is_quoted) {
  EXPECT_EQ(*split_command(" /a  'b c'\t\"d\"e '' "), (Words{"/a", "b c", "de", ""}));
  for (const char* wrong : {"", "  ", "\"a", "'' x"}) EXPECT_FALSE(split_command(wrong)) << wrong;
}

}  // namespace
}  // namespace penstock
