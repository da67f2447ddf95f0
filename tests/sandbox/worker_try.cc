// Runs as a worker, in its sandbox, and tries one thing of worker_attempts.def: exits with 0 where it could, with the
// errno where it was refused, and does not come to that where it was killed.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <pthread.h>
#include <string>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace {

const char* text(const char* name) {
  const char* value = ::getenv(name);
  return value != nullptr ? value : "/nowhere";
}

int digits(const char* at) {
  int value = 0;
  for (; *at >= '0' && *at <= '9'; ++at) value = value * 10 + (*at - '0');
  return value;
}
int number(const char* name) { return digits(text(name)); }

// The n-th descriptor of PENSTOCK_WORKER.
int segment_fd(int n) {
  const char* at = text("PENSTOCK_WORKER");
  for (; n > 0; --n) at = std::strchr(at, ' ') + 1;
  return digits(at);
}

// Makes whoever writes to it wait for ever, if it is an eventfd.
int jam(int fd) {
  if (::fcntl(fd, F_SETFL, 0) != 0) return -1;
  const uint64_t full = UINT64_MAX - 1;
  return ::write(fd, &full, sizeof full) == static_cast<ssize_t>(sizeof full) ? 0 : -1;
}

int reopen(int fd) { return ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR); }

// With each descriptor that there is.
int take_bell_from(int bed) {
  int last = ENOENT;
  for (int fd = 0; fd < 64; ++fd) {
    if (::epoll_ctl(bed, EPOLL_CTL_DEL, fd, nullptr) == 0) return 0;
    if (fd != bed && errno != EBADF && errno != EPERM) last = errno;
  }
  errno = last;
  return -1;
}

int set_async(int fd) {
  int on = 1;
  return ::ioctl(fd, FIOASYNC, &on);
}

int failed(int error) {
  errno = error;
  return -1;
}

int open_proc(const char* whose, const char* what) {
  return ::open(("/proc/" + std::string(text(whose)) + "/" + what).c_str(), O_RDONLY);
}

// Is any process seen but this one?
int list_processes() {
  DIR* const dir = ::opendir("/proc");
  if (dir == nullptr) return -1;
  int others = 0;
  while (const dirent* entry = ::readdir(dir)) {
    const int pid = digits(entry->d_name);
    others += pid > 0 && pid != ::getpid();
  }
  return others > 0 ? others : failed(ENOENT);
}

long clone_with(unsigned long flags) {
  return ::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
}

int raise_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
  ++limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit);
}

int connect_abstract() {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = text("TRY_ABSTRACT");
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address), size);
}

std::string in_state(const char* name) { return std::string(text("TRY_STATE")) + "/" + name; }

int make_file(const std::string& path, const std::string& content, mode_t mode) {
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, mode);
  if (fd < 0) return -1;
  const bool whole = ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  ::close(fd);
  return whole ? 0 : -1;
}

int replace_served() {
  if (make_file(in_state("mine"), "mine", 0644) != 0) ::_exit(200);
  return ::rename(in_state("mine").c_str(), text("TRY_SERVED"));
}

int read_by_link() {
  const std::string link = in_state("link");
  ::unlink(link.c_str());
  if (::symlink((std::string(text("TRY_OTHERS")) + "/secret").c_str(), link.c_str()) != 0) return -1;
  return ::open(link.c_str(), O_RDONLY);
}

// The bit may be set, as by the owner of any file; nobody gets its identity by it.
int make_setuid() {
  if (make_file(in_state("setuid"), "x", 0755) != 0 || ::chmod(in_state("setuid").c_str(), 04755) != 0) return -1;
  return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? failed(EPERM) : 0;
}

std::string copy_of_itself() {
  std::string bytes;
  const int fd = ::open(text("TRY_PROGRAM"), O_RDONLY);
  char buffer[65536];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;) bytes.append(buffer, static_cast<size_t>(n));
  return bytes;
}

std::string drop_program() {
  if (make_file(in_state("dropped"), copy_of_itself(), 0755) != 0) ::_exit(200);
  return in_state("dropped");
}

// Comes back only where it failed; what was executed says 0 (see main).
int execute(const std::string& path) {
  std::string again = path;
  std::string word = "again";
  char* arguments[] = {again.data(), word.data(), nullptr};
  return ::execve(again.c_str(), arguments, environ);
}

int map_dropped_file() {
  const int fd = ::open(drop_program().c_str(), O_RDONLY);
  if (fd < 0) ::_exit(200);
  return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0;
}

int make_executable() {
  void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return ::mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

int map_executable() {
  return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

int map_half(int n) {
  return ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, segment_fd(n), 0) == MAP_FAILED ? -1 : 0;
}

int reopen_servers_half() { return ::open(("/proc/self/fd/" + std::to_string(segment_fd(0))).c_str(), O_RDWR); }

int protect_servers_half() {
  void* const page = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, segment_fd(0), 0);
  return page == MAP_FAILED ? 0 : ::mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

int descriptors_without_end() {
  for (int i = 0; i < 100'000; ++i) {
    if (::fcntl(0, F_DUPFD, 0) < 0) return -1;
  }
  return 0;
}

int processes_without_end() {
  for (int i = 0; i < 1'000; ++i) {
    const pid_t child = ::fork();
    if (child < 0) return -1;
    if (child == 0) {
      for (;;) ::pause();
    }
  }
  return 0;
}

void* wait_for_ever(void*) {
  const int loop = ::epoll_create1(0);
  epoll_event event{};
  for (;;) (void)::epoll_wait(loop, &event, 1, -1);
  return nullptr;
}

void* wait_a_while(void*) {
  const timespec long_time{100, 0};
  ::clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, nullptr);
  return nullptr;
}

int threads_without_end() {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, 64 * 1024);
  for (int i = 0; i < 1'000; ++i) {
    pthread_t thread;
    if (const int rc = ::pthread_create(&thread, &attributes, &wait_a_while, nullptr); rc != 0) return failed(rc);
  }
  return 0;
}

int memory_without_end() {
  for (int i = 0; i < 1'000; ++i) {
    if (::mmap(nullptr, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) return -1;
  }
  return 0;
}

int work_in_state() {
  if (make_file(in_state("a"), "text", 0644) != 0) return -1;
  if (::link(in_state("a").c_str(), in_state("b").c_str()) != 0) return -1;
  if (::rename(in_state("a").c_str(), in_state("c").c_str()) != 0 || ::unlink(in_state("c").c_str()) != 0) return -1;
  if (::mkdir(in_state("d").c_str(), 0755) != 0 || ::rmdir(in_state("d").c_str()) != 0) return -1;
  const int fd = ::open(in_state("b").c_str(), O_RDWR);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  if (fd < 0 || ::fcntl(fd, F_SETLK, &lock) != 0 || ::ftruncate(fd, 2) != 0 || ::fsync(fd) != 0) return -1;
  return ::unlink(in_state("b").c_str());
}

void* count_up(void* counter) {
  ++*static_cast<std::atomic<int>*>(counter);
  return nullptr;
}

int have_threads() {
  std::atomic<int> counter = 0;
  for (int i = 0; i < 8; ++i) {
    pthread_t thread;
    if (const int rc = ::pthread_create(&thread, nullptr, &count_up, &counter); rc != 0) return failed(rc);
    ::pthread_join(thread, nullptr);
  }
  return counter == 8 ? 0 : failed(EIO);
}

int have_memory() {
  std::vector<char> bytes(64 << 20, 'x');
  bytes.resize(128 << 20, 'y');
  return bytes.back() == 'y' ? 0 : -1;
}

int tell_time() {
  timespec now{};
  unsigned char random[16];
  const timespec moment{0, 1'000'000};
  if (::clock_gettime(CLOCK_REALTIME, &now) != 0 || ::getrandom(random, sizeof random, 0) != sizeof random) return -1;
  return ::clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, nullptr);
}

int have_event_loop() {
  int pair[2];
  const int loop = ::epoll_create1(0);
  epoll_event event{.events = EPOLLIN, .data = {}};
  if (loop < 0 || ::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return -1;
  if (::epoll_ctl(loop, EPOLL_CTL_ADD, pair[0], &event) != 0 || ::write(pair[1], "x", 1) != 1) return -1;
  return ::epoll_wait(loop, &event, 1, -1) == 1 ? 0 : -1;
}

int ask_who() {
  rlimit limit{};
  char directory[4096];
  if (::getcwd(directory, sizeof directory) == nullptr || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
  return ::getuid() == ::geteuid() && ::getuid() != 0 && ::getpid() > 0 && ::sysconf(_SC_NPROCESSORS_ONLN) > 0 ? 0 : -1;
}

struct Attempt {
  const char* name;
  long (*run)();
};

constexpr Attempt ATTEMPTS[] = {
#define ATTEMPT(name, compute, full, code) {#name, []() -> long { return static_cast<long>(code); }},
#include "tests/sandbox/worker_attempts.def"
#undef ATTEMPT
};

}  // namespace

int main(int argc, char** argv) {
  const std::string wanted = argc > 1 ? argv[1] : "";
  if (wanted == "again") return 0;
  if (wanted == "wait") {
    (void)!::write(1, "up\n", 3);
    wait_for_ever(nullptr);
  }
  for (const Attempt& attempt : ATTEMPTS) {
    if (wanted != attempt.name) continue;
    errno = 0;
    // _exit: no destructor may wait for threads.
    ::_exit(attempt.run() < 0 ? (errno != 0 ? errno : 201) : 0);
  }
  return 202;
}
