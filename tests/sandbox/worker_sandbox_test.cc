// Every row of worker_attempts.def, in a worker process as the supervisor starts it: with the smallest and the largest
// profile, under an identity of its own (root) and as a user without privileges, and in each tier. Tiers go round with
// the rows, so that each row meets each; PENSTOCK_SANDBOX_ALL=1 tries all of them with all.
#include "pool/ring/segment.h"
#include "pool/ring/server_link.h"
#include "src/admin/worker_process.h"
#include "src/base/doorbell.h"

#include <algorithm>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sstream>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock::test {
namespace {

constexpr uid_t POOL = 1'900'000'001;
constexpr uid_t OTHER_POOL = 1'900'000'002;
constexpr uid_t CALLER = 64'999;  // who runs penstock without root

struct Row {
  const char* name;
  const char* compute;
  const char* full;
};
constexpr Row ROWS[] = {
#define ATTEMPT(name, compute, full, code) {#name, compute, full},
#include "tests/sandbox/worker_attempts.def"
#undef ATTEMPT
};

struct WorkerCase {
  Row row;
  bool full;
  bool root;
  WorkerTier tier;
};

constexpr WorkerTier TIERS[] = {WorkerTier::LANDLOCK, WorkerTier::UNSHARED, WorkerTier::NS};
constexpr const char* TIER_NAMES[] = {"landlock", "unshared", "ns"};

std::vector<WorkerCase> cases() {
  const bool all = ::getenv("PENSTOCK_SANDBOX_ALL") != nullptr;
  std::vector<WorkerCase> out;
  size_t turn = 0;
  for (const Row& row : ROWS) {
    for (const bool full : {false, true}) {
      for (const bool root : {true, false}) {
        ++turn;  // four a row, so that the next row begins with the next tier
        for (size_t i = 0; i < std::size(TIERS); ++i) {
          if (all || turn % std::size(TIERS) == i) out.push_back({row, full, root, TIERS[i]});
        }
      }
    }
  }
  return out;
}

// What tier landlock does not keep, as pool/sandbox/README.md says; the last three where all have one user.
bool is_let_through(const WorkerCase& c) {
  const std::string_view name = c.row.name;
  if (c.tier != WorkerTier::LANDLOCK) return false;
  if (name == "map_dropped_file_as_code") return true;
  return !c.root && (name == "reopen_servers_half" || name == "threads_without_end" ||
                     (name == "processes_without_end" && c.full));
}

// How the attempt must end. In a root of its own a file that Landlock would deny is not there, or is read only.
std::vector<std::string> right_answers(const WorkerCase& c) {
  std::istringstream words(c.full ? c.row.full : c.row.compute);
  std::vector<std::string> answers{std::istream_iterator<std::string>(words), {}};
  const bool denied = std::find(answers.begin(), answers.end(), "EACCES") != answers.end();
  if (denied && c.tier == WorkerTier::NS) answers.insert(answers.end(), {"ENOENT", "EROFS"});
  if (is_let_through(c)) answers = {"0"};
  return answers;
}

bool wait_readable(int fd) {
  pollfd waits{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&waits, 1, 20'000) == 1;
}

std::string outcome_text(const RoleExit& end) {
  if (end.signal == SIGSYS) return "SYS";
  if (end.signal == SIGABRT) return "ABRT";
  if (end.signal != 0) return end.text();
  if (end.code == 0) return "0";
  const char* const name = ::strerrorname_np(end.code);
  return name != nullptr && end.code < 200 ? name : end.text();
}

// The directories and processes around the attempts, of one caller. A worker's state is private to its pool.
class Ground {
 public:
  explicit Ground(bool root) : root_(root) {
    char name[] = "/var/tmp/penstock-worker-XXXXXX";
    base_ = ::mkdtemp(name) != nullptr ? name : "";
    for (const char* directory : {"app", "state", "others", "www"}) {
      std::filesystem::create_directory(base_ + "/" + directory);
      ::chmod((base_ + "/" + directory).c_str(), 0777);
    }
    for (const char* file : {"app/page", "others/secret", "www/index.html"}) {
      std::ofstream(base_ + "/" + file) << "text";
      ::chmod((base_ + "/" + file).c_str(), 0666);  // Landlock alone stands before them
    }
    ::chmod(base_.c_str(), 0755);
    abstract_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string socket_name = base_.substr(1);
    std::memcpy(address.sun_path + 1, socket_name.data(), socket_name.size());
    (void)::bind(abstract_, reinterpret_cast<sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + socket_name.size()));
    (void)::listen(abstract_, 8);
  }
  ~Ground() {
    ::close(abstract_);
    if (!base_.empty()) std::filesystem::remove_all(base_);
  }
  Ground(const Ground&) = delete;
  Ground& operator=(const Ground&) = delete;

  WorkerLaunch launch(const std::string& attempt, const WorkerCase& c, uid_t uid) const {
    const bool full = c.full;
    WorkerLaunch launch;
    launch.pool = "test";
    launch.command = {WORKER_TRY, attempt};
    launch.directory = base_ + "/app";
    launch.environment = {"TRY_SUPERVISOR=" + std::to_string(::getpid()),
                          "TRY_APP=" + base_ + "/app",
                          "TRY_STATE=" + base_ + "/state",
                          "TRY_OTHERS=" + base_ + "/others",
                          "TRY_SERVED=" + base_ + "/www/index.html",
                          "TRY_ABSTRACT=" + base_.substr(1),
                          std::string("TRY_PROGRAM=") + WORKER_TRY};
    WorkerSandbox& sandbox = launch.sandbox;
    if (root_) sandbox.identity = SandboxIdentity{uid, uid};
    sandbox.tier = c.tier;
    sandbox.syscalls = full ? WorkerSyscalls::FULL : WorkerSyscalls::COMPUTE;
    sandbox.network = full ? WorkerNetwork::UNIX : WorkerNetwork::NONE;
    sandbox.read_paths = {base_ + "/app"};
    sandbox.write_paths = {base_ + "/state"};
    sandbox.execute_paths = {WORKER_TRY};
    sandbox.limits = {.files = 64, .processes = 32, .address_space = 1ULL << 30, .core = 0};
    launch.server_half = memory_.server_half.get();
    launch.worker_half = memory_.worker_half.get();
    launch.helper_bed = launch.worker_bed = bed_.get();
    launch.server_bells = {bell_.get()};
    return launch;
  }

 private:
  bool root_;
  std::string base_;
  int abstract_ = -1;
  SegmentMemory memory_ = create_segment({}).value();
  UniqueFd bed_ = make_bed().value();
  UniqueFd bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

std::string end_of(WorkerProcess& process) {
  while (wait_readable(process.report_fd())) {
    if (const auto report = process.take_report()) {
      if (!*report) return (void)process.kill_and_wait(), report->error().message;
      break;
    }
  }
  while (wait_readable(process.pidfd())) {
    if (const auto end = process.reap()) return outcome_text(*end);
  }
  process.kill_and_wait();
  return "does not end";
}

std::string try_in_worker(const WorkerCase& c) {
  const Ground ground(c.root);
  // Somebody of another pool and somebody of the same, as targets.
  auto other = WorkerProcess::spawn(PENSTOCK_BINARY, ground.launch("wait", c, OTHER_POOL), MonoTime{});
  auto same = WorkerProcess::spawn(PENSTOCK_BINARY, ground.launch("wait", c, POOL), MonoTime{});
  if (!other || !same) return "no targets";
  std::string outcome = "targets do not start";
  if (wait_readable(other->output_fd()) && wait_readable(same->output_fd())) {
    WorkerLaunch launch = ground.launch(c.row.name, c, POOL);
    launch.environment.push_back("TRY_OTHER=" + std::to_string(other->pid()));
    launch.environment.push_back("TRY_SAME=" + std::to_string(same->pid()));
    auto process = WorkerProcess::spawn(PENSTOCK_BINARY, launch, MonoTime{});
    outcome = process ? end_of(*process) : process.error().message;
    if (other->reap() || same->reap()) outcome += ", and a target has ended";
  }
  other->kill_and_wait();
  same->kill_and_wait();
  return outcome;
}

// In a child, so that it can become somebody without privileges.
std::string try_as(const WorkerCase& c) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    if (!c.root && ::geteuid() == 0 &&
        (::setgroups(0, nullptr) != 0 || ::setresgid(CALLER, CALLER, CALLER) != 0 ||
         ::setresuid(CALLER, CALLER, CALLER) != 0)) {
      ::_exit(1);
    }
    // What a worker leaves counts for its user until somebody has reaped it, and the next attempt has the same user.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    const std::string outcome = try_in_worker(c);
    (void)!::write(fds[1], outcome.data(), outcome.size());
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    ::_exit(0);
  }
  ::close(fds[1]);
  std::string outcome;
  char buffer[1024];
  for (ssize_t n = 0; (n = ::read(fds[0], buffer, sizeof buffer)) > 0;) outcome.append(buffer, static_cast<size_t>(n));
  ::close(fds[0]);
  ::waitpid(child, nullptr, 0);
  return outcome;
}

class WorkerSandboxAttempt : public testing::TestWithParam<WorkerCase> {};

TEST_P(WorkerSandboxAttempt, ends_as_it_must) {
  const WorkerCase& c = GetParam();
  if (c.root && ::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::vector<std::string> answers = right_answers(c);
  const std::string outcome = try_as(c);
  EXPECT_NE(std::find(answers.begin(), answers.end(), outcome), answers.end())
      << outcome << ", expected " << testing::PrintToString(answers);
}

// A worker of the SDK under the smallest profile: it maps its segment and says that it is ready.
TEST(WorkerSandbox, the_sdk_needs_no_more_than_the_default) {
  const SegmentMemory memory = create_segment({.worker = 1}).value();
  const UniqueFd helper_bed = make_bed().value();
  const UniqueFd worker_bed = make_bed().value();
  const UniqueFd server_bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const Segment segment =
      Segment::map(memory.server_half.get(), memory.worker_half.get(), Segment::Side::SERVER).value();
  ServerLink link(segment.channel(0), 1, {});
  WorkerLaunch launch;
  launch.command = {PENSTOCK_HELLO};
  launch.sandbox.execute_paths = {PENSTOCK_HELLO};
  if (::geteuid() == 0) launch.sandbox.identity = SandboxIdentity{POOL, POOL};
  launch.server_half = memory.server_half.get();
  launch.worker_half = memory.worker_half.get();
  launch.helper_bed = helper_bed.get();
  launch.worker_bed = worker_bed.get();
  launch.server_bells = {server_bell.get()};
  auto process = WorkerProcess::spawn(PENSTOCK_BINARY, launch, MonoTime{});
  ASSERT_TRUE(process) << process.error().message;
  LinkEvent event;
  for (int i = 0; i < 100 && !link.ready() && !process->reap(); ++i) {
    pollfd waits{.fd = server_bell.get(), .events = POLLIN, .revents = 0};
    (void)::poll(&waits, 1, 100);
    while (link.next(event)) {
    }
  }
  EXPECT_TRUE(link.ready());
  EXPECT_EQ(process->kill_and_wait().signal, SIGKILL);
}

std::string output_of(const std::vector<std::string>& command, WorkerSyscalls syscalls, const std::string& state,
                      WorkerTier tier = WorkerTier::UNSHARED) {
  const SegmentMemory memory = create_segment({}).value();
  const UniqueFd bell(::eventfd(0, EFD_CLOEXEC));
  const UniqueFd bed = make_bed().value();
  WorkerLaunch launch;
  launch.command = command;
  launch.environment = {"PATH=/usr/bin:/bin", "HOME=" + state, "TMPDIR=" + state};
  launch.directory = state;
  launch.sandbox.syscalls = syscalls;
  launch.sandbox.tier = tier;
  launch.sandbox.execute_paths = {command[0], "/usr/bin", "/usr/lib/git-core"};
  launch.sandbox.write_paths = {state};
  if (::geteuid() == 0) launch.sandbox.identity = SandboxIdentity{POOL, POOL};
  launch.server_half = memory.server_half.get();
  launch.worker_half = memory.worker_half.get();
  launch.helper_bed = launch.worker_bed = bed.get();
  launch.server_bells = {bell.get()};
  auto process = WorkerProcess::spawn(PENSTOCK_BINARY, launch, MonoTime{});
  if (!process) return process.error().message;
  std::string text;
  char buffer[4096];
  while (wait_readable(process->output_fd())) {
    const ssize_t n = ::read(process->output_fd(), buffer, sizeof buffer);
    if (n <= 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  return text + end_of(*process);
}

class WorkerPrograms : public testing::Test {
 protected:
  WorkerPrograms() {
    char name[] = "/var/tmp/penstock-state-XXXXXX";
    state_ = ::mkdtemp(name) != nullptr ? name : "";
    const bool is_mine = ::geteuid() != 0 || ::chown(state_.c_str(), POOL, POOL) == 0;
    EXPECT_TRUE(is_mine);
  }
  ~WorkerPrograms() override { std::filesystem::remove_all(state_); }
  std::string state_;
};

TEST_F(WorkerPrograms, see_no_more_of_the_machine_than_their_tier_says) {
  const std::string script =
      "for f in /etc/shadow /root /var/log /proc/1 /usr/bin/env; do [ -e $f ] && echo -n $f' '; done; "
      "read -r inside outside count 2> /dev/null < /proc/self/uid_map && [ $inside = $outside ] && echo -n $count' '; "
      "echo > in-state && echo 2> /dev/null > /tmp/elsewhere || echo closed";
  const auto seen_in = [&](WorkerTier tier) {
    return output_of({"/bin/sh", "-c", script}, WorkerSyscalls::PROCESS, state_, tier);
  };
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for /proc in the tiers with namespaces";
  EXPECT_EQ(seen_in(WorkerTier::LANDLOCK), "/etc/shadow /root /var/log /proc/1 /usr/bin/env closed\n0");
  EXPECT_EQ(seen_in(WorkerTier::UNSHARED), "/etc/shadow /root /var/log /usr/bin/env 4294967295 closed\n0");
  EXPECT_EQ(seen_in(WorkerTier::NS), "/usr/bin/env 1 closed\n0") << "with one user in its user namespace";
}

TEST_F(WorkerPrograms, python_needs_no_more_than_the_default) {
  if (::access("/usr/bin/python3", X_OK) != 0) GTEST_SKIP() << "needs python3";
  const std::string script =
      "import json, threading, sqlite3, tempfile, logging, hashlib, email, datetime, select, socket, ctypes, uuid\n"
      "import asyncio, queue, zlib, decimal, random, html.parser, urllib.parse, http.client, mimetypes, shutil, os\n"
      "asyncio.run(asyncio.to_thread(lambda: 1))\n"
      "db = sqlite3.connect('a.db'); db.execute('create table t (x)'); db.execute('insert into t values (7)'); "
      "db.commit()\n"
      "t = threading.Thread(target=lambda: open('thread', 'w').write('x')); t.start(); t.join()\n"
      "f = tempfile.TemporaryFile(); f.write(b'x'); os.makedirs('d/e'); shutil.copyfile('a.db', 'd/e/b'); "
      "shutil.rmtree('d')\n"
      "print(db.execute('select x from t').fetchone()[0], os.cpu_count() > 0, sorted(os.listdir('.')))\n";
  EXPECT_EQ(output_of({"/usr/bin/python3", "-c", script}, WorkerSyscalls::COMPUTE, state_),
            "7 True ['a.db', 'thread']\n0");
}

TEST_F(WorkerPrograms, shells_and_git_need_no_more_than_process) {
  if (::access("/usr/bin/git", X_OK) != 0) GTEST_SKIP() << "needs git";
  const std::string script =
      "git init -q r && cd r && echo text > f && git add f && "
      "git -c user.name=a -c user.email=b commit -qm one && git clone -q . ../c && cat ../c/f && "
      "cp -a f g && ls -l g | wc -l && perl -e 'print 6 * 7, \"\\n\"' && seq 3 | sort -r | head -1";
  EXPECT_EQ(output_of({"/bin/sh", "-c", script}, WorkerSyscalls::PROCESS, state_), "text\n1\n42\n3\n0");
}

TEST_F(WorkerPrograms, php_needs_no_more_than_process) {
  if (::access("/usr/bin/php-cgi", X_OK) != 0) GTEST_SKIP() << "needs php-cgi";
  std::ofstream(state_ + "/a.php") << "<?php echo preg_match('/a+/', 'caab'), "
                                      "json_encode([1]), filesize('a.php') > 0;";
  ::chmod((state_ + "/a.php").c_str(), 0644);
  const std::string text =
      output_of({"/usr/bin/php-cgi", "-q", "-d", "opcache.lockfile_path=" + state_, state_ + "/a.php"},
                WorkerSyscalls::PROCESS, state_);
  EXPECT_EQ(text, "1[1]10");
}

INSTANTIATE_TEST_SUITE_P(Workers, WorkerSandboxAttempt, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<WorkerCase>& row) {
                           return std::string(row.param.row.name) + (row.param.full ? "_full" : "_compute") +
                                  (row.param.root ? "_root_" : "_user_") +
                                  TIER_NAMES[static_cast<size_t>(row.param.tier)];
                         });

}  // namespace
}  // namespace penstock::test
