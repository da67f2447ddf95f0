#include "tests/sim/sim_world.h"

#ifdef PENSTOCK_HTTP2
#include "src/http/h2/h2_transport.h"
#endif
#include "src/log/drain/entry.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr uint32_t WAKE_INBOX = 1;
constexpr uint32_t WAKE_COMPRESS = 3;
constexpr uint32_t WAKE_WORKERS = 4;

bool was_written(int event_fd) {
  uint64_t count = 0;
  return ::read(event_fd, &count, sizeof count) == sizeof count;
}

}  // namespace

SimWorld::SimWorld(const SimOptions& options) : prng_(options.seed ^ 0x5157), protocol_(options.protocol) {
  const uint64_t hash_seed = prng_.next();
  snapshots_ = std::make_unique<SnapshotStore>(options.reactors);
  bodies_ = std::make_unique<BodyStore>(ledger_, BodyLimits{.sendfile_min = 16 * 1024});
  cache_ = std::make_unique<CacheTable>(
      CacheConfig{.reactors = options.reactors, .hash_seed = hash_seed, .limits = {.bytes_max = 512 * 1024}}, ledger_,
      validity_);
  tree_.changed = [this](const std::string& path) { watch_.touch(path); };
  std::vector<int> wakes;
  for (uint32_t i = 0; i < options.reactors; ++i) {
    Result<std::unique_ptr<Inbox>> inbox = Inbox::create();
    ASSERT(inbox.has_value());
    inboxes_.push_back(std::move(*inbox));
    make_node(i, options);
    wakes.push_back(nodes_.back()->compress_wake.get());
  }
  compress_ = std::make_unique<CompressQueue>(*bodies_, validity_, CompressOptions{.levels = {1, 1, 1}}, wakes);
  Result<std::unique_ptr<PoolReports>> reports = PoolReports::create();
  ASSERT(reports.has_value());
  pool_reports_ = std::move(*reports);
  rung_.resize(options.reactors);
  shared_ =
      std::make_unique<ServerShared>(ServerShared{*snapshots_, ledger_, validity_, *bodies_, *cache_, admission_,
                                                  fills_, *compress_, limiter_, inboxes_, -1, pool_reports_.get()});
  publish(options.config);
  // Streams of HTTP/2 are connections, too.
  const uint32_t connections_max = (is_over_h2(options.protocol) ? 2 : 1) * options.connections_max;
  for (uint32_t i = 0; i < options.reactors; ++i) {
    Node& node = *nodes_[i];
    node.reactor = std::make_unique<Reactor>(ReactorParts{.index = i,
                                                          .transport = node.top(),
                                                          .reader = *node.reader,
                                                          .loader = *node.loader,
                                                          .journal = *node.journal,
                                                          .counters = node.map->counters(),
                                                          .clock = clock_,
                                                          .shared = *shared_,
                                                          .compress_wake_fd = node.compress_wake.get(),
                                                          .limits = {.connections_max = connections_max}});
    ASSERT(node.reactor->start().has_value());
    node.top().set_layers(LISTENER, {.tls = is_over_tls(protocol_)});
    ASSERT(node.top().add_listener(-1, LISTENER).has_value());
    cache_->online(i);
  }
}

SimWorld::~SimWorld() {
  compress_->stop();
  for (auto& node : nodes_) node->reactor.reset();
  cache_.reset();
}

void SimWorld::make_node(uint32_t index, const SimOptions& options) {
  Node& node = *nodes_.emplace_back(std::make_unique<Node>());
  Result<JournalMemory> memory = create_journal_memory(
      {.reactor = index, .instance = options.seed, .slot_count = 2 * options.connections_max, .ring_bytes = 1 << 20});
  ASSERT(memory.has_value());
  node.memory = std::move(*memory);
  Result<JournalMap> map = JournalMap::map(node.memory.data.get(), node.memory.ack.get(), JournalAccess::REACTOR);
  ASSERT(map.has_value());
  node.map = std::make_unique<JournalMap>(std::move(*map));
  node.journal = std::make_unique<Journal>(*node.map, -1);
  const TransportOptions wanted{
      .connections_max = options.connections_max, .receive_buffers = 32, .receive_buffer_bytes = 512};
  node.transport = std::make_unique<SimTransport>(wanted, prng_.next(), options.transport);
  make_layers(node, wanted, options.kernel_tls);
  node.reader = std::make_unique<MemoryFileReader>(tree_, prng_.next(), options.files);
  node.loader = std::make_unique<Loader>(*node.reader, *bodies_, &watch_, 32);
  node.compress_wake.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

void SimWorld::make_layers(Node& node, const TransportOptions& options, bool kernel_tls) {
  if (is_over_tls(protocol_)) {
    node.tls_parts = std::make_unique<test::TlsParts>(std::vector<std::string>{"h2", "http/1.1"});
    Transport* below = node.transport.get();
    if (kernel_tls) {
      node.kernel = std::make_unique<test::FakeKernelTls>(*below, test::FakeKernelOptions{.seed = prng_.next()});
      below = node.kernel.get();
    }
    node.tls = std::make_unique<TlsTransport>(*below, *node.tls_parts->context, nullptr, clock_, options);
  }
#ifdef PENSTOCK_HTTP2
  if (is_over_h2(protocol_)) {
    node.http2 = std::make_unique<H2Transport>(node.below_http2(), options.connections_max, options.connections_max);
  }
#endif
}

void SimWorld::publish(const std::string& config) {
  ConfigResult<Tree> tree = Tree::from_text(config, "sim", ++generation_);
  ASSERT(tree.has_value());
  auto snapshot = std::make_unique<Snapshot>(*tree, static_cast<uint32_t>(inboxes_.size()), types_);
  snapshot->serving_generation = generation_;
  // The fake reader looks at no root; any descriptor that is open will do.
  for (Snapshot::Serving& serving : snapshot->serving) serving.root = {.fd = inboxes_[0]->wake_fd(), .path = "/sim"};
  pools_.bind(*snapshot);
  snapshots_->publish(std::move(snapshot));
}

void SimWorld::apply(const std::string& config) { publish(config); }

void SimWorld::wake_who_was_called() {
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    if (was_written(inboxes_[i]->wake_fd())) nodes_[i]->transport->wake(WAKE_INBOX);
    if (was_written(nodes_[i]->compress_wake.get())) nodes_[i]->transport->wake(WAKE_COMPRESS);
    if (rung_[i]) nodes_[i]->transport->wake(WAKE_WORKERS);
    rung_[i] = false;
  }
}

void SimWorld::step() {
  const auto first = prng_.below(static_cast<uint32_t>(nodes_.size()));
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    wake_who_was_called();
    nodes_[(first + i) % nodes_.size()]->reactor->turn(clock_.now());
  }
  if (prng_.one_in(8)) (void)compress_->run_one();
  if (prng_.one_in(16)) (void)cache_->maintain(clock_.now());
  if (prng_.one_in(16)) (void)snapshots_->collect();
  if (prng_.one_in(4)) pools_.collect();
  clock_.advance(microseconds(prng_.below(2000)));
}

void SimWorld::stop_faults() {
  for (auto& node : nodes_) {
    node->transport->stop_faults();
    node->reader->stop_faults();
  }
}

void SimWorld::drain() {
  for (auto& inbox : inboxes_) inbox->post({.kind = ReactorMessage::Kind::DRAIN});
}

uint32_t SimWorld::open_requests() const {
  uint32_t open = 0;
  for (const auto& node : nodes_) open += node->journal->open_count();
  return open;
}

uint64_t SimWorld::file_errors() const {
  uint64_t errors = 0;
  for (const auto& node : nodes_) errors += node->reader->errors_made();
  return errors;
}

uint64_t SimWorld::check_times(std::vector<std::string>& wrong) {
  constexpr int64_t TURN_NS = 1'000'000;  // no turn's readings of the clock move it that far
  uint64_t checked = 0;
  for (auto& node : nodes_) {
    const auto map = JournalMap::map(node->memory.data.get(), node->memory.ack.get(), JournalAccess::DRAIN);
    ASSERT(map.has_value());
    RingReader ring(*map);
    while (const EndRecordView* record = ring.next()) {
      if (record->head.kind != RecordKind::REQUEST) continue;
      ++checked;
      const auto complain = [&](const std::string& what) {
        wrong.push_back("record " + std::to_string(record->head.seq_start) + ": " + what);
      };
      int64_t before = 0;
      for (size_t i = 0; i < MOMENT_COUNT; ++i) {
        const int64_t at = record->head.moments[i];
        if (at == 0) continue;
        if (at + TURN_NS < before) complain(std::string(MOMENT_NAMES[i]) + " lies before the moment before it");
        before = at;
      }
      const AccessEntry entry = entry_of(record->head, 0);
      int64_t sum = 0;
      for (const int64_t us :
           {entry.receive_us, entry.route_us, entry.queue_us, entry.worker_us, entry.send_us, entry.ack_us}) {
        sum += std::max<int64_t>(us, 0);
      }
      if (sum != entry.duration_us) complain("its stages are not the whole");
      if (record->head.status != 0 && entry.first_byte_us == AccessEntry::NOT_REACHED) complain("no first byte out");
    }
  }
  return checked;
}

std::vector<std::string> SimWorld::faults_at_end(uint64_t requests_at_least) {
  while (compress_->run_one()) {
  }
  for (int i = 0; i < 8; ++i) step();
  std::vector<std::string> wrong;
  uint64_t records = 0;
  for (auto& node : nodes_) {
    node->transport->at_end();
    for (const std::string& violation : node->transport->violations()) wrong.push_back("transport: " + violation);
    for (const std::string& violation :
         node->kernel != nullptr ? node->kernel->violations() : std::vector<std::string>())
      wrong.push_back("kernel: " + violation);
    if (node->tls != nullptr && (node->tls->blocks_taken() != 0 || node->tls->buffers_lent() != 0)) {
      wrong.emplace_back("a block or a buffer of TLS is not back");
    }
    if (!node->reactor->pools_are_full()) wrong.emplace_back("a pool of a reactor is not full again");
    if (node->reader->open_files() != 0) wrong.emplace_back("a file is still open");
    if (node->journal->open_count() != 0) wrong.emplace_back("a journal slot is still open");
    if (node->map->counters().connections_open.get() != 0) wrong.emplace_back("connections_open is not 0");
    records += node->map->producer().seq_finish.load();
  }
  if (records < requests_at_least) {
    wrong.push_back("journal: " + std::to_string(records) + " records for " + std::to_string(requests_at_least) +
                    " requests");
  }
  if (connections_.open() != 0) wrong.emplace_back("the limiter still counts connections");
  if (fills_.fills() != 0 || fills_.waiters() != 0) wrong.emplace_back("a fill never ended");
  return wrong;
}

}  // namespace penstock
