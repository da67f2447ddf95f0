#include "src/transport/dpdk/dpdk_eal.h"

#include "src/base/unique_fd.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_version.h>
#include <sched.h>
#include <sstream>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace penstock {
namespace {

bool is_virtual(const std::string& device) { return device.starts_with("net_") || device.starts_with("eth_"); }

// 03:00.0, or with the domain before it; what follows a comma is the driver's.
bool is_pci_address(const std::string& device) {
  std::string shape = device.substr(0, device.find(','));
  for (char& c : shape) {
    if (std::isxdigit(static_cast<unsigned char>(c)) != 0) c = 'x';
  }
  return shape == "xx:xx.x" || shape == "xxxx:xx:xx.x";
}

// A server of memif or vhost-user leaves its socket behind when it is killed, and the next one could not bind: gone,
// unless somebody listens there.
void remove_stale_socket(const std::string& device) {
  std::string path;
  int type = SOCK_SEQPACKET;
  if (device.starts_with("net_memif") && device_option(device, "role") != "client") {
    path = device_option(device, "socket");
  } else if (device.starts_with("net_vhost") && device_option(device, "client") != "1") {
    path = device_option(device, "iface");
    type = SOCK_STREAM;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return;  // DPDK says so, too
  std::copy(path.begin(), path.end(), address.sun_path);
  const UniqueFd probe(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 && errno == ECONNREFUSED)
    (void)::unlink(path.c_str());
}

// Drivers that make as many queues as they are told when the device is made; the others are told when it is configured.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> QUEUE_OPTIONS = {{
    {"net_af_packet", "qpairs"},
    {"net_af_xdp", "queue_count"},
    {"net_vhost", "queues"},
    {"net_virtio_user", "queues"},
}};

std::string with_queues(const std::string& device, uint16_t queues) {
  for (const auto& [driver, option] : QUEUE_OPTIONS) {
    if (queues == 1 || !device.starts_with(driver) || !device_option(device, std::string(option)).empty()) continue;
    return device + "," + std::string(option) + "=" + std::to_string(queues);
  }
  return device;
}

uint64_t free_hugepages() {
  uint64_t count = 0;
  std::error_code ignored;
  for (const auto& size : std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", ignored)) {
    std::ifstream file(size.path() / "free_hugepages");
    uint64_t pages = 0;
    if (file >> pages) count += pages;
  }
  return count;
}

// What DPDK logs while it starts; its last words are the reason where it refuses.
class LogCapture {
 public:
  LogCapture() : stream_(::open_memstream(&text_, &bytes_)) {
    rte_openlog_stream(stream_);
    rte_log_set_global_level(RTE_LOG_WARNING);
  }
  ~LogCapture() {
    // From here on it writes to nobody: the process has other ways to tell, and syslog is not for its sandbox.
    static FILE* const nowhere = std::fopen("/dev/null", "we");
    rte_openlog_stream(nowhere);
    std::fclose(stream_);
    std::free(text_);
  }
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  // The last line, without the name of its part.
  [[nodiscard]] std::string last_words() {
    std::fflush(stream_);
    std::string text(text_, bytes_);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    const size_t line = text.rfind('\n');
    return line == std::string::npos ? text : text.substr(line + 1);
  }
  // What a driver said when it would not make its device, before those above it said that it had not.
  [[nodiscard]] std::string drivers_words() {
    std::fflush(stream_);
    std::istringstream lines(std::string(text_, bytes_));
    for (std::string line; std::getline(lines, line);) {
      const size_t colon = line.find(": ");
      const std::string_view speaker = std::string_view(line).substr(0, colon);
      if (colon != std::string::npos && speaker != "EAL" && !speaker.ends_with("_probe()"))
        return line.substr(colon + 2);
    }
    return "it does not say why";
  }
  [[nodiscard]] bool contains(const char* words) {
    std::fflush(stream_);
    return std::strstr(text_, words) != nullptr;
  }

 private:
  char* text_ = nullptr;
  size_t bytes_ = 0;
  FILE* stream_;
};

std::string refusal(const DpdkEalConfig& config, LogCapture& log, int error) {
  const std::string device = "dpdk.device = " + config.device + ": ";
  if (log.contains("failed to parse device") || log.contains("Unable to parse device") ||
      log.contains("no driver found")) {
    return device +
           "no such driver; the virtual ones are net_tap, net_af_packet, net_af_xdp, net_memif, net_vhost "
           "(packages librte-net-*), a card has an address like 0000:03:00.0";
  }
  if (log.contains("hugepage")) {
    return "dpdk.hugepages = 1, and DPDK finds none it can use (" + log.last_words() +
           "): echo 256 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, or dpdk.hugepages = 0";
  }
  if (log.contains("/dev/net/tun")) return device + "/dev/net/tun cannot be opened: modprobe tun, and start as root";
  if (error == EACCES || error == EPERM) return device + "not permitted (" + log.last_words() + "): start as root";
  return device + "DPDK does not start: " + log.last_words();
}

}  // namespace

Status start_dpdk(const DpdkEalConfig& config) {
  const bool vdev = is_virtual(config.device);
  if (!vdev && !is_pci_address(config.device)) {
    return fail("dpdk.device = " + config.device +
                ": expected a virtual device (net_tap0,iface=dtap0) or the address of a card (0000:03:00.0)");
  }
  if (config.hugepages && free_hugepages() == 0) {
    return fail(
        "dpdk.hugepages = 1, and no hugepage is free: echo 256 > /sys/kernel/mm/hugepages/hugepages-2048kB/"
        "nr_hugepages, or dpdk.hugepages = 0");
  }
  // One lcore, on all cores that we have: reactors pin themselves.
  std::vector<std::string> words = {"penstock", "--no-telemetry", "--lcores", "0@0"};
  if (config.hugepages) {
    words.push_back("--in-memory");
  } else {
    for (const char* word : {"--no-huge", "--no-shconf", "-m"}) words.push_back(word);
    words.push_back(std::to_string(config.memory_mb));
  }
  if (vdev) {
    for (const char* word : {"--no-pci", "--vdev"}) words.push_back(word);
  } else {
    words.push_back("-a");
  }
  words.push_back(with_queues(config.device, config.queues));
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());

  cpu_set_t cores;
  const bool had_cores = ::sched_getaffinity(0, sizeof cores, &cores) == 0;
  if (had_cores) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &cores)) continue;
      words[3] = "0@" + std::to_string(cpu);
      arguments[3] = words[3].data();
      break;
    }
  }
  remove_stale_socket(config.device);
  LogCapture log;
  const int started = rte_eal_init(static_cast<int>(arguments.size()), arguments.data());
  const int error = rte_errno;
  if (had_cores) (void)::sched_setaffinity(0, sizeof cores, &cores);  // it has bound us to its lcore's
  if (started < 0) return fail(refusal(config, log, error), error);
  if (rte_eth_dev_count_avail() == 0) {
    const std::string device = "dpdk.device = " + config.device + ": ";
    return fail(vdev
                    ? device + "its driver refuses it (" + log.drivers_words() +
                          "): is its interface there (ip link), the folder of its socket, and each option the driver's?"
                    : device +
                          "there is no such port; is the card there (lspci), and bound to vfio-pci "
                          "(dpdk-devbind.py)?");
  }
  return {};
}

std::string device_option(const std::string& device, const std::string& key) {
  const size_t at = device.find("," + key + "=");
  if (at == std::string::npos) return {};
  const size_t begin = at + key.size() + 2;
  return device.substr(begin, device.find(',', begin) - begin);
}

const char* dpdk_version() { return rte_version(); }

}  // namespace penstock
