// ServerProcess: everything one server process is made of, wired; the reactors' owner.
//
// Used by the role's control thread only (src/roles/server.cc). prepare() runs while the process still
// has one thread and its privileges: it makes every ring, map and pool. Then the role enters its
// sandbox, and start() makes the threads: one for each reactor, one that watches files, one that compresses,
// and the file workers. It knows no channel, no JSON and no policy of its own.
#pragma once

#include "cache/table.h"
#include "src/base/clock.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"
#include "src/config/tree.h"
#include "src/server/reactor.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace penstock {

class PoolReports;
class PoolTable;

// A listening socket by the number that the supervisor gave it.
struct ServerListener {
  static constexpr int32_t ANY_REACTOR = -1;
  uint32_t id = 0;
  int32_t reactor = ANY_REACTOR;
  bool tls = false;
  UniqueFd fd;
};

struct ServerOptions {
  uint32_t reactors = 1;
  std::vector<UniqueFd> journals;      // data 0, ack 0, data 1, ack 1, ... (journal_memory.h)
  int doorbell_fd = -1;                // logd's; not owned
  std::vector<UniqueFd> key_channels;  // as in RoleStart
  UniqueFd certificates;
  bool certificates_are_new = false;  // they are looked at whole
  std::string ticket_keys;
  UniqueFd kernel_tap;
  bool port_heard_by_two = false;
  UniqueFd connections;  // of ConnectionCounts
  uint32_t place = 0;    // there
};

class ServerProcess {
 public:
  ServerProcess();
  // REQUIRES: not started. The watch and the compressor end with the process, which does not wait for them: a
  // compressor's job may take seconds.
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Single-threaded. Lines for the operator are appended to `notes`.
  [[nodiscard]] Status prepare(const Tree& tree, ServerOptions options, std::vector<std::string>& notes);
  // "uring", "epoll" or "dpdk". REQUIRES: prepared.
  [[nodiscard]] std::string transport_name() const;
  // Threads that a driver has made in prepare(), and the way to run something in each: the sandbox is theirs as well.
  [[nodiscard]] int driver_threads() const;
  [[nodiscard]] Status run_in_driver_threads(const std::function<void()>& job);

  // Makes the threads. Nothing is accepted before set_listeners().
  [[nodiscard]] Status start(std::vector<std::string>& notes);
  // The whole wanted table: opens what is new (takes over its descriptor), lets go of what is missing and closes it:
  // a socket that nobody accepts from, yet still open, would keep clients waiting and its address taken. False: a
  // reactor does not turn; what it holds is closed with the next call, or with the process.
  bool set_listeners(std::vector<ServerListener> wanted);

  // What session tickets are sealed with from now on, as in ServerOptions.
  void set_ticket_keys(const std::string& keys);
  // A new generation, in force on every reactor when it returns without an error: a reactor does not turn, or a
  // certificate of `certificates` cannot be used (then nothing has changed).
  // `between`: called every 0.1 s while certificates are looked at, before anything has changed; false: given up.
  [[nodiscard]] Status apply(const Tree& tree, const UniqueFd& certificates, std::vector<std::string>& notes,
                             const std::function<bool()>& between);

  // Every reactor has turned since the call: false if one does not within a second.
  [[nodiscard]] bool turn_over();

  // Regular work; about ten times a second, and when wake_fd() is readable. Lines for the operator go to `notes`.
  void maintain(std::vector<std::string>& notes);
  [[nodiscard]] int wake_fd() const;

  // Stops accepting; finished() turns true when nothing is in flight any more. True when it returns with every
  // reactor having let go of its listeners: what waits on them waits for another process.
  [[nodiscard]] bool drain();
  // Whether another process hears what comes to the port past the kernel as well, and has connections there of its own
  // (net/port_handover.h). True when it returns with every reactor knowing.
  [[nodiscard]] bool set_port_heard_by_two(bool heard);
  // Another process has let go of our listeners: whoever it left waiting is accepted. The kernel wakes one of two
  // that wait on a listener, and that one may have been just about to leave.
  void accept_again();
  [[nodiscard]] bool finished() const;
  // Ends what is left of connections and requests, and joins the reactors.
  void stop_reactors();

  // Workers and pools: what the supervisor says of them goes in by the table, what reactors see comes out as reports.
  // REQUIRES: prepared.
  [[nodiscard]] PoolTable& pools();
  [[nodiscard]] PoolReports& pool_reports();

  // For questions.
  [[nodiscard]] CacheTable& cache();
  // CacheTable::purge(), and the sweep behind it at once: how many entries fell.
  uint64_t purge(PurgeKind kind, std::string_view name, PurgeMode mode);
  [[nodiscard]] const Snapshot& config() const;
  [[nodiscard]] MonoTime now();
  // What each site has in the cache, in the order of their names; "-": hosts that no site answers to any more.
  [[nodiscard]] std::map<std::string, CacheUse> cache_use_by_site();
  // What a request for this URL would meet in the cache.
  struct UrlWhy {
    CacheWhy cache;
    std::string canonical;  // "host/path", or empty where the URL is refused or no site answers
    Reason refused = Reason::NONE;
    uint32_t seen_lately = 0;  // misses counted towards its admission
    // The same URL as others have written it ("http://EXAMPLE.com/%61"): each of these has an entry of its own.
    std::vector<std::string> other_spellings;
  };
  // `url`: "http://www.example.com/path?query", or "/path" for the given default host.
  [[nodiscard]] UrlWhy why(std::string_view url, std::string_view default_host);
  // The canonical name under which entries of this URL are purged; empty where it is refused.
  [[nodiscard]] std::string canonical_name(std::string_view url, std::string_view default_host);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace penstock
