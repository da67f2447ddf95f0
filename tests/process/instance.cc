#include "tests/process/instance.h"

#include "src/admin/control_client.h"
#include "src/base/bytes.h"
#include "src/config/parse.h"

#include <arpa/inet.h>
#include <array>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <poll.h>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock::test {
namespace {

std::string read_all(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

Instance::Instance() {
  char name[] = "/tmp/penstock-process-XXXXXX";
  dir_ = ::mkdtemp(name);
  ::chmod(dir_.c_str(), 0755);
  for (const char* site : {"/www", "/other"}) std::filesystem::create_directory(dir_ + site);
  set = {"site.a.hosts=*", "site.a.root=" + dir_ + "/www", "server.listen=127.0.0.1:0", "server.reactors=1"};
  environment.executable = FAKE_ROLE;
}

Instance::~Instance() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);  // its roles follow: PDEATHSIG
    ::waitpid(pid_, nullptr, 0);
  }
  std::filesystem::remove_all(dir_);
}

void Instance::spawn() {
  SupervisorOptions options;
  options.control_path = path("control.sock");
  options.serving = "a test";
  if (!config_text.empty()) {
    options.config_file = path("penstock.conf");
    std::ofstream(options.config_file) << config_text;
  } else {
    for (const std::string& text : set) options.overlay.push_back(*parse_assignment(text, "--set"));
  }
  pid_ = ::fork();
  if (pid_ != 0) return;
  const int out = ::open(path("out").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int err = ::open(path("err").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  if (in_child) in_child(environment);
  ::_exit(run_supervisor(std::move(options), environment));
}

void Instance::start() {
  spawn();
  eventually([this] {
    siginfo_t ended{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT);
    return ended.si_pid == pid_ || role_pid("server") != 0;
  });
}

int Instance::wait_exit() {
  int status = 0;
  const bool ended = eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
  if (!ended) return -1000;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int Instance::stop() {
  ::kill(pid_, SIGTERM);
  return wait_exit();
}

Json Instance::call(const Json& request) {
  auto answer = control_call(path("control.sock"), request, seconds(20));
  return answer ? *answer : Json();
}

pid_t Instance::role_pid(const std::string& role) {
  const Json now = status();
  for (const Json& one : json_array(now, "roles")) {
    if (json_text(one, "role") == role && json_text(one, "state") == "ready") {
      return static_cast<pid_t>(json_number(one, "pid"));
    }
  }
  return 0;
}

std::string Instance::log() const { return read_all(path("err")); }
std::string Instance::out() const { return read_all(path("out")); }

size_t Instance::open_requests() {
  const Json answer = call({{"cmd", "requests"}});
  size_t count = 0;
  // Its head has been noted: the fake server does so right after it has opened the record.
  for (const Json& request : json_array(answer, "requests")) count += json_text(request, "method").empty() ? 0 : 1;
  return count;
}

uint16_t Instance::port() {
  const Json now = status();
  for (const Json& listener : json_array(now, "listeners")) {
    const std::string address = json_text(listener, "address");
    if (address.starts_with("unix:")) continue;
    return static_cast<uint16_t>(parse_decimal(address.substr(address.rfind(':') + 1)).value_or(0));
  }
  return 0;
}

bool Instance::eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    ::poll(nullptr, 0, 5);
  }
  return false;
}

Client::Client(uint16_t port) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return;
  ::close(fd_);
  fd_ = -1;
}

Client::Client(const std::string& unix_path) {
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, unix_path.data(), unix_path.size());
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return;
  ::close(fd_);
  fd_ = -1;
}

Client::~Client() {
  if (fd_ >= 0) ::close(fd_);
}

void Client::ask(const std::string& path) {
  const std::string text = "GET " + path + " HTTP/1.0\r\nHost: test\r\n\r\n";
  (void)::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
}

std::string Client::body(int timeout_ms) {
  std::string text;
  std::array<char, 4096> bytes;
  for (;;) {
    pollfd p{fd_, POLLIN, 0};
    if (::poll(&p, 1, timeout_ms) != 1) return "";
    const ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
    if (n < 0) return "";
    if (n == 0) break;
    text.append(bytes.data(), static_cast<size_t>(n));
  }
  const size_t end = text.find("\r\n\r\n");
  return end == std::string::npos ? "" : text.substr(end + 4);
}

std::string get(uint16_t port, const std::string& path) {
  Client client(port);
  if (!client.connected()) return "refused";
  client.ask(path);
  return client.body();
}

}  // namespace penstock::test
