// Invariants:
//  - batch_ holds exactly the records of batch_.ring between acknowledged() and position(), encoded.
//  - An intent is published before the first byte of its batch is written, and its file_offset is the size of the
//    file at that moment: only we append (LogFile holds the lock).
#include "src/log/drain/drain.h"

#include "src/log/drain/rotation.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

constexpr size_t BATCH_BYTES = 1U << 20;
constexpr int BATCHES_PER_PASS = 32;
constexpr Duration ROTATE_RETRY = seconds(60);

}  // namespace

Drain::Drain(std::vector<RingReader*> rings, std::string computer_name, uint64_t hash_seed)
    : rings_(std::move(rings)), computer_name_(std::move(computer_name)), hash_seed_(hash_seed) {}

// What a predecessor was writing when it died: whole, partly there, or not at all.
void Drain::recover(LogFile& file) {
  for (RingReader* ring : rings_) {
    const std::optional<WriteIntent> intent = ring->open_intent();
    if (!intent) continue;
    const bool same = file.regular() && intent->file_device == file.device() && intent->file_inode == file.inode();
    const uint64_t size = file.size();
    if (!same || size < intent->file_offset) {
      ++stats_.uncertain;
    } else if (size >= intent->file_offset + intent->file_bytes) {
      ring->accept_intent(*intent);
      ++stats_.accepted;
    } else if (size > intent->file_offset) {
      if (file.truncate(intent->file_offset)) {
        ++stats_.repaired;
      } else {
        ++stats_.uncertain;
      }
    }
    // Closed before anything else is appended: what grows the file later must not look like this batch.
    if (ring->open_intent()) ring->publish_intent({});
  }
}

Status Drain::open_file(const AccessLogSettings& settings, WallTime wall) {
  Result<LogFile> file = LogFile::open(settings.path);
  if (!file) return std::unexpected(file.error());
  if (!recovered_) recover(*file);
  recovered_ = true;
  const uint64_t size = file->size();
  const WallTime born = size > 0 ? file->modified() : wall;
  file_period_ = period_index(born, settings.rotate_period, settings.utc);
  file_ = std::move(*file);
  encoder_ = std::make_unique<LogEncoder>(settings, computer_name_, hash_seed_);
  start_pending_ = true;
  return {};
}

Status Drain::apply(const AccessLogSettings& settings, MonoTime now, WallTime wall) {
  if (settings == settings_) return {};
  Result<LogFilter> filter = LogFilter::parse(settings.where);
  if (!filter) return std::unexpected(filter.error());
  LogFilter old_filter = std::exchange(filter_, std::move(*filter));
  const bool had_file = file_.has_value();
  const bool same_form = settings.format == settings_.format && settings.fields == settings_.fields &&
                         settings.utc == settings_.utc && settings.path == settings_.path;
  if (same_form && had_file) {
    settings_ = settings;
    file_period_ = period_index(wall, settings.rotate_period, settings.utc);
    return {};
  }
  if (batch_.ring != nullptr && !write_batch(now)) throw_batch_away();
  if (!settings.wanted()) {
    file_.reset();
    settings_ = settings;
    succeeded();
    return {};
  }
  std::optional<LogFile> old = std::exchange(file_, std::nullopt);
  std::unique_ptr<LogEncoder> old_encoder = std::move(encoder_);
  const int64_t old_period = file_period_;
  if (settings.path == settings_.path) old.reset();  // its lock would shut us out
  Status opened = open_file(settings, wall);
  if (!opened && old) {
    file_ = std::move(old);
    encoder_ = std::move(old_encoder);
    file_period_ = old_period;
    filter_ = std::move(old_filter);
    return opened;
  }
  settings_ = settings;
  if (!opened) {
    failed(now, opened.error());
  } else {
    succeeded();
  }
  return opened;
}

bool Drain::discard_waiting() {
  bool any = false;
  for (RingReader* ring : rings_) {
    uint64_t records = 0;
    while (const EndRecordView* record = ring->next()) {
      ++records;
      if (followers_ != nullptr && followers_->any()) followers_->add(*record, *ring);
    }
    if (ring->position() != ring->acknowledged()) ring->acknowledge(records);
    stats_.discarded += records;
    any = any || records > 0;
  }
  return any;
}

// Where the oldest are to go first: from rings of which `from` eighths or more are in use, until `to` eighths are.
void Drain::give_up_oldest(uint64_t from, uint64_t to) {
  if (settings_.on_full != LogFullSetting::DROP_OLDEST) return;
  for (RingReader* ring : rings_) {
    const uint64_t eighth = ring->ring_bytes() / 8;
    if (ring->position() + ring->waiting() - ring->acknowledged() < from * eighth) continue;
    if (batch_.ring == ring) throw_batch_away();  // it holds the very oldest
    uint64_t records = 0;
    while (ring->waiting() > to * eighth) {
      const EndRecordView* record = ring->next();
      if (record == nullptr) break;
      if (followers_ != nullptr && followers_->any()) followers_->add(*record, *ring);
      ++records;
    }
    ring->give_up(records);
    stats_.given_up += records;
  }
}

void Drain::fill_batch(RingReader& ring) {
  size_t bytes_max = BATCH_BYTES;
  if (file_->regular() && settings_.rotate_bytes > 0) {  // rotation is between batches: none goes far past its mark
    const uint64_t size = std::min(file_->size(), settings_.rotate_bytes - 1);
    bytes_max = static_cast<size_t>(std::min<uint64_t>(bytes_max, settings_.rotate_bytes - size));
  }
  while (batch_.wanted == 0 || batch_.bytes.size() < bytes_max) {  // one at least: a header alone may reach the mark
    const EndRecordView* record = ring.next();
    if (record == nullptr) break;
    if (followers_ != nullptr && followers_->any()) followers_->add(*record, ring);
    ++batch_.records;
    if (filter_.wants(*record, ring.reactor(), filter_texts_)) {
      encoder_->add(batch_.bytes, *record, ring);
    } else if (ring.gap_before() > 0) {  // nobody knows what was in it
      encoder_->gap(batch_.bytes, ring);
    } else {
      continue;
    }
    ++batch_.wanted;
  }
  if (batch_.wanted > 0) encoder_->finish(batch_.bytes);
}

// Encodes what the next ring with records has; false when all are empty.
bool Drain::make_batch(WallTime wall) {
  for (size_t tried = 0; tried < rings_.size(); ++tried) {
    RingReader& ring = *rings_[next_ring_];
    next_ring_ = (next_ring_ + 1) % rings_.size();
    if (ring.waiting() < RECORD_ALIGN) continue;
    batch_.bytes.clear();
    batch_.records = batch_.wanted = 0;
    batch_.written = 0;
    const uint64_t size = file_->size();
    if (start_pending_) encoder_->start(batch_.bytes, wall, size == 0);
    fill_batch(ring);
    if (batch_.wanted == 0) {  // not for this log, or nothing but what made no sense, which the ring has counted
      if (start_pending_) encoder_->forget();
      if (ring.position() != ring.acknowledged()) ring.acknowledge(batch_.records);
      continue;
    }
    batch_.ring = &ring;
    batch_.intent = {.file_device = file_->device(),
                     .file_inode = file_->inode(),
                     .file_offset = size,
                     .file_bytes = batch_.bytes.size(),
                     .tail_after = ring.position()};
    if (file_->regular()) ring.publish_intent(batch_.intent);
    return true;
  }
  return false;
}

// True when the pending batch is in the file and acknowledged.
bool Drain::write_batch(MonoTime now) {
  const std::string_view bytes = batch_.bytes.view();
  while (batch_.written < bytes.size()) {
    const Result<size_t> n = file_->append(bytes.substr(batch_.written));
    if (!n) {
      failed(now, n.error());
      return false;
    }
    batch_.written += *n;
  }
  batch_.ring->acknowledge(batch_.records);
  batch_.ring = nullptr;
  start_pending_ = false;
  stats_.records += batch_.wanted;
  stats_.bytes += bytes.size();
  ++stats_.batches;
  last_work_ = now;
  succeeded();
  return true;
}

// Takes back what is in the file of it; its records are read from the ring again.
void Drain::throw_batch_away() {
  if (batch_.written > 0 && file_->regular() && !file_->truncate(batch_.intent.file_offset)) ++stats_.uncertain;
  batch_.ring->rewind();
  batch_.ring->publish_intent({});  // see recover()
  batch_.ring = nullptr;
  start_pending_ = true;
  encoder_->forget();
}

void Drain::rotate_if_due(MonoTime now, WallTime wall) {
  if (!file_->regular() || now < rotate_retry_at_) return;
  const int64_t period = period_index(wall, settings_.rotate_period, settings_.utc);
  const bool by_size = settings_.rotate_bytes > 0 && file_->size() >= settings_.rotate_bytes;
  if (!by_size && period == file_period_) return;
  if (Status ok = rotate(wall); !ok) {
    rotate_retry_at_ = now + ROTATE_RETRY;
    message_ = settings_.what() + " not rotated, writing on: " + ok.error().message;
  }
}

Status Drain::rotate(WallTime wall) {
  if (!file_ || !file_->regular()) return {};
  if (batch_.ring != nullptr) throw_batch_away();
  file_period_ = period_index(wall, settings_.rotate_period, settings_.utc);
  std::string renamed;
  if (file_->is_at(settings_.path)) {
    if (file_->size() == 0) return {};
    Result<std::string> name = rotate_away(settings_.path, wall, settings_.utc);
    if (!name) return std::unexpected(name.error());
    renamed = *name;
  }
  std::optional<LogFile> old = std::exchange(file_, std::nullopt);
  if (Status opened = open_file(settings_, wall); !opened) {
    // The old file goes on under its old name, unless someone took that.
    file_ = std::move(old);
    if (!renamed.empty()) (void)::rename(renamed.c_str(), settings_.path.c_str());
    return opened;
  }
  ++stats_.rotations;
  const Result<uint32_t> pruned = prune_rotated(settings_.path, settings_.keep);
  if (!pruned) return std::unexpected(pruned.error());
  stats_.pruned += *pruned;
  return {};
}

DrainRest Drain::pass(MonoTime now, WallTime wall) {
  if (!settings_.wanted()) {
    return wait(now, discard_waiting());
  }
  if (now < retry_at_) return wait(now, false);
  if (!file_) {
    if (Status ok = open_file(settings_, wall); !ok) {
      failed(now, ok.error());
      return wait(now, false);
    }
    succeeded();
  }
  if (batch_.ring != nullptr && !write_batch(now)) return wait(now, false);
  bool worked = false;
  for (int i = 0; i < BATCHES_PER_PASS; ++i) {
    rotate_if_due(now, wall);
    give_up_oldest(7, 6);  // it can be written, but not as fast as it comes
    if (!make_batch(wall)) return wait(now, worked);
    worked = true;
    if (!write_batch(now)) return wait(now, false);
  }
  return {{0}, DrainState::AWAKE};
}

// Sleep only after a quiet second: a bell costs the reactor a system call.
DrainRest Drain::wait(MonoTime now, bool worked) {
  if (worked) last_work_ = now;
  const bool failing = retry_at_ > now;
  const bool sleep = !failing && batch_.ring == nullptr && now - last_work_ >= IDLE_BEFORE_SLEEP;
  if (failing) give_up_oldest(4, 3);  // below the half-full ring that a dozing logd is woken for
  // While it fails a timer wakes us, and a bell for each half-full ring would only cost the reactors - unless there
  // is something to do then.
  const bool no_bell = failing && settings_.on_full != LogFullSetting::DROP_OLDEST;
  const DrainState state = no_bell ? DrainState::AWAKE : sleep ? DrainState::ASLEEP : DrainState::DOZING;
  if (sleep) return {UNTIL_BELL, state};
  return {failing ? retry_at_ - now : BATCH_INTERVAL, state};
}

void Drain::failed(MonoTime now, const Error& error) {
  ++stats_.write_errors;
  if (stats_.failing != error.message)
    message_ = settings_.what() + " cannot be written, trying again: " + error.message;
  stats_.failing = error.message;
  retry_ = std::clamp(retry_ * 2, RETRY_MIN, RETRY_MAX);
  retry_at_ = now + retry_;
}

void Drain::succeeded() {
  if (!stats_.failing.empty()) message_ = settings_.what() + " is being written again";
  stats_.failing.clear();
  retry_ = {};
  retry_at_ = {};
}

bool Drain::drained() const {
  return batch_.ring == nullptr && std::all_of(rings_.begin(), rings_.end(),
                                               [](const RingReader* ring) { return ring->waiting() < RECORD_ALIGN; });
}

std::optional<std::string> Drain::take_message() {
  if (message_.empty()) return std::nullopt;
  return std::exchange(message_, {});
}

}  // namespace penstock
