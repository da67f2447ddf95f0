#include "src/log/journal_reader.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>

namespace penstock {
namespace {

constexpr int COPY_ATTEMPTS = 256;  // a rewrite takes some 100 ns; a writer that died inside never ends

struct SlotCopy {
  alignas(64) unsigned char bytes[sizeof(Slot)];
  bool torn = false;
  [[nodiscard]] const Slot& slot() const { return *reinterpret_cast<const Slot*>(bytes); }
};

// One consistent copy, or the last inconsistent one, marked.
void copy_slot(const Slot& slot, SlotCopy& copy) {
  for (int i = 0; i < COPY_ATTEMPTS; ++i) {
    const uint32_t before = slot.version.load(std::memory_order_acquire);
    std::memcpy(copy.bytes, &slot, sizeof(Slot));
    std::atomic_thread_fence(std::memory_order_acquire);  // pairs with SlotWrite in journal.cc
    const uint32_t after = slot.version.load(std::memory_order_relaxed);
    copy.torn = (before & 1U) != 0 || before != after;
    if (!copy.torn) return;
    __builtin_ia32_pause();
  }
}

std::string text_of(const Slot& copy, Text which) {
  const Slot::Span span = copy.texts[static_cast<size_t>(which)];
  const size_t index = static_cast<size_t>(which);
  if (size_t{span.offset} + span.size > Slot::TEXT_AREA || span.size > TEXT_BYTES_MAX[index]) return {};
  return {copy.text.data() + span.offset, span.size};
}

}  // namespace

std::optional<InFlightRequest> JournalReader::read(uint32_t index) const { return read(index, false); }

uint32_t JournalReader::used() const {
  const uint64_t used = map_.producer().slots_used.load(std::memory_order_acquire);
  return static_cast<uint32_t>(std::min<uint64_t>(used, map_.header().slot_count));
}

std::optional<InFlightRequest> JournalReader::read(uint32_t index, bool also_free) const {
  const Slot& slot = map_.slot(index);
  if (!also_free && slot.stage.load(std::memory_order_relaxed) == static_cast<uint32_t>(Stage::FREE) &&
      (slot.version.load(std::memory_order_relaxed) & 1U) == 0) {
    return std::nullopt;
  }
  SlotCopy raw;
  copy_slot(slot, raw);
  const Slot& copy = raw.slot();
  const uint32_t stage = copy.stage.load(std::memory_order_relaxed);
  if (!also_free && stage == static_cast<uint32_t>(Stage::FREE)) return std::nullopt;

  InFlightRequest request;
  request.torn = raw.torn || stage >= STAGE_NAMES.size();
  request.reactor = map_.header().reactor;
  request.slot = index;
  request.seq_start = copy.seq_start;
  request.connection = copy.connection;
  request.request_number = copy.request_number;
  request.generation = copy.generation;
  request.stage = stage < STAGE_NAMES.size() ? static_cast<Stage>(stage) : Stage::DECODE;
  request.worker = copy.worker.load(std::memory_order_relaxed);
  request.bytes_in = copy.bytes_in.load(std::memory_order_relaxed);
  request.bytes_out = copy.bytes_out.load(std::memory_order_relaxed);
  request.begin = {copy.begin_mono};
  request.begin_wall = {copy.begin_wall};
  for (size_t i = 0; i < MOMENT_COUNT; ++i) request.moments[i] = copy.moments[i].load(std::memory_order_relaxed);
  request.client = copy.client;
  request.server = copy.server;
  request.method = text_of(copy, Text::method);
  request.target = text_of(copy, Text::target);
  request.host = text_of(copy, Text::host);
  request.excerpt.assign(copy.text.data(), std::min<size_t>(copy.excerpt_bytes, Slot::EXCERPT_MAX));
  return request;
}

std::vector<InFlightRequest> JournalReader::in_flight() const {
  std::vector<InFlightRequest> list;
  for (uint32_t index = 0; index < used(); ++index) {
    if (std::optional<InFlightRequest> request = read(index)) list.push_back(std::move(*request));
  }
  std::sort(list.begin(), list.end(),
            [](const InFlightRequest& a, const InFlightRequest& b) { return a.seq_start < b.seq_start; });
  return list;
}

std::vector<InFlightRequest> JournalReader::in_flight_of(uint64_t worker) const {
  std::vector<InFlightRequest> list;
  for (uint32_t index = 0; index < used(); ++index) {
    if (map_.slot(index).worker.load(std::memory_order_relaxed) != worker) continue;
    std::optional<InFlightRequest> request = read(index);
    if (request && request->worker == worker) list.push_back(std::move(*request));
  }
  return list;
}

std::vector<InFlightRequest> JournalReader::inside_since(uint64_t worker, MonoTime since) const {
  std::vector<InFlightRequest> list = in_flight_of(worker);
  for (uint32_t index = 0; index < used(); ++index) {
    const Slot& slot = map_.slot(index);
    if (slot.worker_left.load(std::memory_order_relaxed) != worker) continue;
    if (slot.left_mono.load(std::memory_order_relaxed) < since.ns) continue;
    std::optional<InFlightRequest> request = read(index, true);
    // The next request may have taken the slot meanwhile.
    if (!request || request->torn || slot.worker_left.load(std::memory_order_relaxed) != worker) continue;
    request->left = true;
    list.push_back(std::move(*request));
  }
  return list;
}

JournalReader::RingStatus JournalReader::ring_status() const {
  const ProducerPage& producer = map_.producer();
  const AckPage& ack = map_.ack();
  RingStatus status;
  const uint64_t tail = ack.tail.load(std::memory_order_acquire);
  const uint64_t head = producer.head.load(std::memory_order_acquire);
  status.finished = producer.seq_finish.load(std::memory_order_relaxed);
  status.dropped =
      producer.dropped.load(std::memory_order_relaxed) + ack.cursors[0].given_up.load(std::memory_order_relaxed);
  status.drained = ack.cursors[0].records.load(std::memory_order_relaxed);
  status.ring_bytes = map_.header().ring_bytes;
  status.bytes_waiting = std::min(head - tail, status.ring_bytes);
  return status;
}

std::string address_text(const JournalAddress& address) {
  char text[INET6_ADDRSTRLEN] = {};
  switch (address.family) {
    case JournalAddress::IPV4:
      ::inet_ntop(AF_INET, &address.ip[12], text, sizeof(text));
      return text;
    case JournalAddress::IPV6:
      ::inet_ntop(AF_INET6, address.ip.data(), text, sizeof(text));
      return text;
    case JournalAddress::UNIX:
      return "unix";
    default:
      return "-";
  }
}

}  // namespace penstock
