#include "src/server/process.h"

#include "src/server/process_parts.h"
#include "src/transport/proxy_transport.h"
#include "src/transport/select.h"
#ifdef PENSTOCK_HTTP2
#include "src/http/h2/h2_transport.h"
#endif

#include <algorithm>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr uint32_t LOADS_MAX = 1024;  // of one reactor: descriptors and buffers are bounded by it
constexpr uint32_t FILLS_MAX = 4096;  // of all reactors
constexpr uint32_t WAITERS_MAX = 65'536;
constexpr uint32_t CELLS_MAX = 1 << 18;  // files watched: one cell each
constexpr Duration ADOPT_PATIENCE = seconds(5);

uint64_t random_seed() {
  uint64_t seed = 0;
  // 8 bytes come whole or not at all (getrandom(2)); at boot it may wait for entropy, once.
  while (::getrandom(&seed, sizeof seed, 0) != sizeof seed) {
  }
  return seed;
}

// Past the kernel a body is sent from where it lies; smaller ones are copied sooner than a part of their own is made.
constexpr size_t LENT_BYTES_MIN = 256;

CacheLimits cache_limits(const Settings& settings) {
  return {.bytes_max = settings.cache_enable ? settings.cache_size : 0,
          .entry_bytes_max = settings.cache_entry_max,
          .scavenge_period = settings.cache_scavenge_period};
}

BodyLimits body_limits(const Settings& settings) {
  // In flight to slow clients and in fills: as much again as the cache, and never less than a few of the largest.
  // Past the kernel there is no sendfile: what lies in memory is sent from there.
  const bool past_kernel = settings.server_transport == TransportSetting::DPDK;
  return {.sendfile_min = past_kernel ? UINT64_MAX : settings.cache_sendfile_min,
          .transient_max = std::max<uint64_t>(settings.cache_size, 8 * settings.cache_entry_max)};
}

ReactorLimits reactor_limits(const Settings& settings, uint32_t connections) {
  ReactorLimits limits{.connections_max = connections};
  if (dpdk_body_sums(settings).stride != 0) limits.copy_max = LENT_BYTES_MIN - 1;
  return limits;
}

Admission::Policy admission_policy(const Settings& settings) {
  switch (settings.cache_admit) {
    case AdmitSetting::ALWAYS:
      return {.hits = 1, .window = settings.cache_admit_window};
    case AdmitSetting::NEVER:
      return {.hits = 0, .window = settings.cache_admit_window};
    case AdmitSetting::FREQUENT:
      break;
  }
  return {.hits = std::min<uint32_t>(settings.cache_admit_hits, 255), .window = settings.cache_admit_window};
}

// Where reactors are pinned, in turn; empty: the kernel's choice.
const std::vector<uint32_t>& reactor_cpus(const Settings& settings) {
  const bool past_kernel = settings.server_transport == TransportSetting::DPDK;
  return past_kernel && !settings.dpdk_cores.empty() ? settings.dpdk_cores : settings.server_cpus;
}

void name_thread(const char* name) { ::pthread_setname_np(::pthread_self(), name); }

}  // namespace

ServerProcess::Parts::Parts(const Settings& settings, uint32_t reactor_count, uint64_t seed,
                            ConnectionCounts connections_of_all, uint32_t place)
    : snapshots(reactor_count),
      validity(CELLS_MAX),
      bodies(ledger, body_limits(settings), dpdk_body_sums(settings)),
      cache({.reactors = reactor_count, .hash_seed = seed, .limits = cache_limits(settings)}, ledger, validity),
      fills(FILLS_MAX, WAITERS_MAX),
      connections(std::move(connections_of_all)),
      limiter(connections, place) {}

void ServerProcess::Parts::publish(const Tree& tree, std::vector<std::string>& notes) {
  auto next = std::make_unique<Snapshot>(tree, static_cast<uint32_t>(inboxes.size()), types);
  for (std::string& complaint : open_roots(*next)) notes.push_back(std::move(complaint));
  pools.bind(*next);
  const uint64_t print = serving_fingerprint(tree);
  if (serving_generation == 0 || print != fingerprint) serving_generation = tree.generation() + 1;
  fingerprint = print;
  next->serving_generation = serving_generation;
  const Settings& settings = next->settings;
  cache.set_limits(cache_limits(settings));
  bodies.set_limits(body_limits(settings));
  admission.set_policy(admission_policy(settings));
  if (compress != nullptr) {
    compress->set_levels({.gzip = static_cast<int>(settings.compress_level_gzip),
                          .br = static_cast<int>(settings.compress_level_br),
                          .zstd = static_cast<int>(settings.compress_level_zstd)});
  }
  snapshots.publish(std::move(next));
}

Status ServerProcess::Parts::prepare_reactor(uint32_t index, const Settings& settings, const ServerOptions& options,
                                             std::vector<std::string>& notes) {
  ReactorSet& set = *reactors.emplace_back(std::make_unique<ReactorSet>());
  Result<JournalMap> map =
      JournalMap::map(options.journals[2 * index].get(), options.journals[2 * index + 1].get(), JournalAccess::REACTOR);
  if (!map) return std::unexpected(map.error());
  set.map = std::make_unique<JournalMap>(std::move(*map));
  set.journal = std::make_unique<Journal>(*set.map, options.doorbell_fd);

  TransportOptions wanted;
  const auto share = static_cast<uint32_t>((settings.server_connections_max + options.reactors - 1) / options.reactors);
  wanted.connections_max = share;
  wanted.receive_buffers = settings.server_recv_buffers;
  wanted.receive_buffer_bytes = static_cast<uint32_t>(settings.server_recv_buffer_bytes);
  if (port != nullptr) {
    Result<std::unique_ptr<Transport>> past_kernel = port->transport(index, wanted, clock.now());
    if (!past_kernel) return std::unexpected(past_kernel.error());
    set.transport = std::move(*past_kernel);
  } else {
    const bool epoll = settings.server_transport == TransportSetting::EPOLL;
    Result<OpenedTransport> opened = open_transport(epoll ? TransportKind::EPOLL : TransportKind::URING, wanted);
    if (!opened) return std::unexpected(opened.error());
    set.transport = std::move(opened->transport);
    if (!opened->note.empty() && index == 0) notes.push_back(opened->note);
  }
  set.proxied = std::make_unique<ProxyTransport>(
      *set.transport, ProxyTransport::Reasons{.invalid = static_cast<int32_t>(Reason::PROXY_HEADER_INVALID),
                                              .late = static_cast<int32_t>(Reason::PROXY_HEADER_WAIT)});
  if (tls != nullptr) {
    auto layered = tls->wrap(index, *set.proxied, wanted);
    if (!layered) return std::unexpected(layered.error());
    set.layered = std::move(*layered);
  }
#ifdef PENSTOCK_HTTP2
  set.http2 = std::make_unique<H2Transport>(set.below_http2(), share, share);
#endif

  set.reader = std::make_unique<ThreadFileReader>(*worker);
  set.loader = std::make_unique<Loader>(*set.reader, bodies, watch.get(), LOADS_MAX);
  return {};
}

ServerProcess::ServerProcess() = default;
ServerProcess::~ServerProcess() = default;

Status ServerProcess::prepare(const Tree& tree, ServerOptions options, std::vector<std::string>& notes) {
  ASSERT(options.journals.size() == 2 * size_t{options.reactors});
  const Settings& settings = tree.settings();
  Result<ConnectionCounts> connections = ConnectionCounts::map(std::move(options.connections));
  if (!connections) return std::unexpected(connections.error());
  ASSERT(options.place < ConnectionCounts::PLACES);
  parts_ = std::make_unique<Parts>(settings, options.reactors, random_seed(), std::move(*connections), options.place);
  Parts& parts = *parts_;
  for (uint32_t i = 0; i < options.reactors; ++i) {
    Result<std::unique_ptr<Inbox>> inbox = Inbox::create();
    if (!inbox) return std::unexpected(inbox.error());
    parts.inboxes.push_back(std::move(*inbox));
  }
  Result<std::unique_ptr<InotifyWatch>> watch = InotifyWatch::create(parts.validity, parts.clock, {});
  if (watch) {
    parts.watch = std::move(*watch);
  } else {
    notes.push_back("files cannot be watched, so none is cached: " + watch.error().message);
  }
  parts.worker = std::make_unique<FileWorker>();
  if (settings.server_transport == TransportSetting::DPDK) {
    auto port =
        DpdkServerPort::open(settings, options.reactors, std::move(options.kernel_tap), options.port_heard_by_two);
    if (!port) return std::unexpected(port.error());
    parts.port = std::move(*port);
  }
  if (!settings.server_listen_tls.empty()) {
    auto tls = TlsLayer::make(std::move(options.key_channels), options.reactors, options.ticket_keys, parts.clock);
    if (!tls) return std::unexpected(tls.error());
    parts.tls = std::move(*tls);
    using Occasion = CertificateTable::Occasion;
    auto table = parts.tls->load(settings, options.certificates,
                                 options.certificates_are_new ? Occasion::CHANGE : Occasion::START, notes);
    if (!table) return std::unexpected(table.error());
    parts.tls->publish(std::move(*table), settings);
  }
  for (uint32_t i = 0; i < options.reactors; ++i) {
    if (Status made = parts.prepare_reactor(i, settings, options, notes); !made) return made;
  }
  std::vector<int> wakes;
  for (auto& set : parts.reactors) {
    set->compress_wake.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!set->compress_wake.valid()) return fail_errno("eventfd for compressed variants");
    wakes.push_back(set->compress_wake.get());
  }
  parts.compress = std::make_unique<CompressQueue>(parts.bodies, parts.validity, CompressOptions{}, wakes);
  parts.control_wake.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!parts.control_wake.valid()) return fail_errno("eventfd for the control thread");
  Result<std::unique_ptr<PoolReports>> reports = PoolReports::create();
  if (!reports) return std::unexpected(reports.error());
  parts.pool_reports = std::move(*reports);
  Result<std::unique_ptr<PurgeDesk>> purges = PurgeDesk::create();
  if (!purges) return std::unexpected(purges.error());
  parts.purges = std::move(*purges);
  parts.shared = std::make_unique<ServerShared>(
      ServerShared{parts.snapshots, parts.ledger, parts.validity, parts.bodies, parts.cache, parts.admission,
                   parts.fills, *parts.compress, parts.limiter, parts.inboxes, parts.control_wake.get(),
                   parts.pool_reports.get(), parts.purges.get()});
  parts.publish(tree, notes);
  return {};
}

int ServerProcess::driver_threads() const { return parts_->port == nullptr ? 0 : parts_->port->thread_count(); }

Status ServerProcess::run_in_driver_threads(const std::function<void()>& job) {
  return parts_->port == nullptr ? Status() : parts_->port->run_in_threads(job);
}

std::string ServerProcess::transport_name() const { return parts_->reactors.front()->transport->name(); }

void ServerProcess::Parts::run_reactor(ReactorSet& set, const std::vector<uint32_t>& cpus, uint32_t index) {
  name_thread("reactor");
  if (!cpus.empty()) {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(cpus[index % cpus.size()], &mask);
    (void)::sched_setaffinity(0, sizeof mask, &mask);  // a core that is gone leaves the choice to the kernel
  }
  const Status started = set.reactor->start();
  if (started) {
    set.reactor->run();
  } else {
    set.start_error.push_back(started);
  }
  set.running.store(false, std::memory_order_release);
}

Status ServerProcess::start(std::vector<std::string>& notes) {
  Parts& parts = *parts_;
  parts.worker->start();
  const uint32_t share = static_cast<uint32_t>((config().settings.server_connections_max + parts.reactors.size() - 1) /
                                               parts.reactors.size());
  for (uint32_t i = 0; i < parts.reactors.size(); ++i) {
    ReactorSet& set = *parts.reactors[i];
    const uint32_t abandoned =
        set.journal->close_abandoned(parts.clock.now(), static_cast<uint16_t>(Reason::CONNECTION_DROPPED));
    if (abandoned > 0) notes.push_back("journal: " + std::to_string(abandoned) + " requests of the last server closed");
    set.reactor = std::make_unique<Reactor>(
        ReactorParts{.index = i,
                     .transport = set.top(),
                     .reader = *set.reader,
                     .loader = *set.loader,
                     .journal = *set.journal,
                     .counters = set.map->counters(),
                     .clock = parts.clock,
                     .shared = *parts.shared,
                     .compress_wake_fd = set.compress_wake.get(),
                     .limits = reactor_limits(config().settings, 2 * share),
                     .carries_for_others = parts.port != nullptr && parts.reactors.size() > 1});
    set.running.store(true, std::memory_order_relaxed);
    set.thread =
        std::thread([&parts, &set, cpus = reactor_cpus(config().settings), i] { parts.run_reactor(set, cpus, i); });
  }
  if (parts.watch != nullptr) {
    parts.watch_thread = std::thread([&parts] {
      name_thread("watch");
      parts.watch->run(-1);  // as long as the process
    });
  }
  parts.compress_thread = std::thread([&parts] {
    name_thread("compress");
    parts.compress->run();
  });
  return {};
}

bool ServerProcess::set_listeners(std::vector<ServerListener> wanted) {
  Parts& parts = *parts_;
  const auto for_reactors = [&](const ServerListener& listener, ReactorMessage message) {
    for (uint32_t i = 0; i < parts.inboxes.size(); ++i) {
      if (listener.reactor == ServerListener::ANY_REACTOR || listener.reactor == static_cast<int32_t>(i)) {
        parts.inboxes[i]->post(message);
      }
    }
  };
  for (auto old = parts.listeners.begin(); old != parts.listeners.end();) {
    const auto same = std::find_if(wanted.begin(), wanted.end(), [&](const auto& one) { return one.id == old->id; });
    if (same != wanted.end()) {
      if (same->tls != old->tls) {
        old->tls = same->tls;
        ReactorMessage message{.kind = ReactorMessage::Kind::SET_LAYERS, .listener = old->id};
        message.layers.tls = old->tls;
        for_reactors(*old, message);
      }
      ++old;
      continue;
    }
    for_reactors(*old, {.kind = ReactorMessage::Kind::REMOVE_LISTENER, .listener = old->id});
    parts.retired_listeners.push_back(std::move(old->fd));
    old = parts.listeners.erase(old);
  }
  for (ServerListener& listener : wanted) {
    if (!listener.fd.valid()) continue;  // we have it
    ReactorMessage message{
        .kind = ReactorMessage::Kind::ADD_LISTENER, .listener = listener.id, .fd = listener.fd.get()};
    message.layers.tls = listener.tls;
    for_reactors(listener, message);
    parts.listeners.push_back(std::move(listener));
  }
  if (parts.retired_listeners.empty()) return true;
  // The turn that obeys, and the polls that may still bring connections.
  if (!turn_over() || !turn_over() || !turn_over()) return false;
  parts.retired_listeners.clear();
  return true;
}

void ServerProcess::set_ticket_keys(const std::string& keys) {
  if (parts_->tls != nullptr) parts_->tls->set_ticket_keys(keys);
}

Status ServerProcess::apply(const Tree& tree, const UniqueFd& certificates, std::vector<std::string>& notes,
                            const std::function<bool()>& between) {
  Parts& parts = *parts_;
  if (!tree.settings().server_listen_tls.empty()) {
    if (parts.tls == nullptr) return fail("this process was started without TLS and cannot learn it");
    auto table = parts.tls->load(tree.settings(), certificates, CertificateTable::Occasion::CHANGE, notes, between);
    if (!table) return std::unexpected(table.error());
    parts.tls->publish(std::move(*table), tree.settings());
  }
  parts.publish(tree, notes);
  parts.post_all(ReactorMessage::Kind::LOOK);
  const MonoTime patience = parts.clock.now() + ADOPT_PATIENCE;
  while (!parts.snapshots.adopted_by_all()) {
    if (!parts.await_reactor(patience)) return fail("a reactor does not take over the new configuration");
  }
  return {};
}

bool ServerProcess::Parts::await_reactor(MonoTime patience) {
  const int64_t left_ms = (patience - clock.now()).ms();
  if (left_ms <= 0) return false;
  pollfd wait{.fd = control_wake.get(), .events = POLLIN, .revents = 0};
  (void)::poll(&wait, 1, static_cast<int>(left_ms));
  uint64_t count = 0;
  [[maybe_unused]] const auto taken = ::read(control_wake.get(), &count, sizeof count);
  return true;
}

bool ServerProcess::turn_over() {
  Parts& parts = *parts_;
  std::vector<uint64_t> before;
  for (auto& set : parts.reactors) before.push_back(set->map->counters().turns.get());
  parts.post_all(ReactorMessage::Kind::LOOK);
  const MonoTime patience = parts.clock.now() + seconds(1);
  for (size_t i = 0; i < parts.reactors.size(); ++i) {
    const ReactorSet& set = *parts.reactors[i];
    while (set.running.load(std::memory_order_acquire) && set.map->counters().turns.get() == before[i]) {
      if (!parts.await_reactor(patience)) return false;
    }
  }
  return true;
}

int ServerProcess::wake_fd() const { return parts_->purges->wake_fd(); }

void ServerProcess::maintain(std::vector<std::string>& notes) {
  Parts& parts = *parts_;
  if (parts.tls != nullptr) parts.tls->maintain(notes);
  bool waited_for = true;
  for (int slice = 0; slice < 64 && parts.cache.maintain(parts.clock.now()); ++slice) {
    if (waited_for) waited_for = parts.purges->tell(parts.cache, parts.inboxes);
  }
  (void)parts.purges->tell(parts.cache, parts.inboxes);
  (void)parts.snapshots.collect();
  parts.pools.collect();
}

bool ServerProcess::drain() {
  const bool let_go = set_listeners({});
  parts_->post_all(ReactorMessage::Kind::DRAIN);
  return let_go && turn_over();
}

bool ServerProcess::set_port_heard_by_two(bool heard) {
  if (parts_->port == nullptr) return true;
  parts_->port->set_heard_by_two(heard);
  return turn_over() && turn_over();  // the first may have looked just before
}

void ServerProcess::accept_again() { parts_->post_all(ReactorMessage::Kind::ACCEPT_AGAIN); }

bool ServerProcess::finished() const {
  return std::all_of(parts_->reactors.begin(), parts_->reactors.end(), [](const auto& set) {
    return !set->running.load(std::memory_order_acquire) || set->reactor->at_rest();
  });
}

void ServerProcess::stop_reactors() {
  parts_->post_all(ReactorMessage::Kind::STOP);
  for (auto& set : parts_->reactors) {
    if (set->thread.joinable()) set->thread.join();
  }
}

CacheTable& ServerProcess::cache() { return parts_->cache; }
PoolTable& ServerProcess::pools() { return parts_->pools; }
PoolReports& ServerProcess::pool_reports() { return *parts_->pool_reports; }
const Snapshot& ServerProcess::config() const { return *parts_->snapshots.current(); }
MonoTime ServerProcess::now() { return parts_->clock.now(); }

}  // namespace penstock
