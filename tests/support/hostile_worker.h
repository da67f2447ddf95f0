// HostileWorker: plays a worker that knows the protocol and breaks it wherever it can, against a ServerLink, and holds
// every event against a model: no view outside of the memory it may be in, nothing of an exchange before its head or
// after its end, no byte more than was granted; and what one request has in the server's memory bears its mark, which
// nothing of another may be written over while it is open. `Source` gives the choices: a seed's, or a fuzzer's.
#pragma once

#include "pool/ring/server_link.h"
#include "src/base/assert.h"
#include "tests/support/plain_channel.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace penstock {

// Source: `uint32_t below(uint32_t bound)`, any number under bound; `bool done()`.
template <typename Source>
class HostileWorker {
 public:
  static constexpr SegmentShape SHAPE{
      .entries = 64, .exchanges_max = 4, .chunk_bytes = 4'096, .chunks = 8, .arena_bytes = 8'192};
  static constexpr LinkLimits LIMITS{
      .window_bytes = 4'096, .upload_chunks_max = 3, .head_bytes_max = 1'024, .fields_max = 8};

  explicit HostileWorker(Source& source) : source_(source) { start(); }

  // One step of either side. After a violation a new process takes the place of the old one.
  void step() {
    ++operations;
    // Replaced for another reason, too: one that garbles its epoch before it is ready is not heard of again.
    if (source_.below(1'000) == 0) return start();
    switch (source_.below(12)) {
      case 0:
        return begin();
      case 1:
        return send_body();
      case 2:
        return on_some([this](Handle exchange, Model& model) {
          const uint32_t bytes = source_.below(3'000);
          link_->grant(exchange, bytes);
          model.allowed += bytes;
        });
      case 3:
        return on_some([this](Handle exchange, Model& model) {
          link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
          model.cancelled = true;
        });
      case 4:
        (void)link_->flush();
        return;
      case 5:
        return listen();
      case 6:
        return scribble();
      default:
        return say();
    }
  }

  uint64_t operations = 0;
  uint64_t events = 0;
  uint64_t processes = 0;
  uint64_t verdicts = 0;
  std::map<LinkViolation, uint64_t> violations;

 private:
  struct Model {
    bool has_head = false;
    bool cancelled = false;
    penstock_to_worker kind = PENSTOCK_REQUEST;
    uint64_t allowed = LIMITS.window_bytes;
    uint64_t taken = 0;
    std::span<const char> request;  // head and first bytes of the body
    char mark = 0;
  };

  void start() {
    ++processes;
    channel_ = std::make_unique<PlainChannel>(SHAPE);
    link_ = std::make_unique<ServerLink>(channel_->memory, 1, LIMITS);
    models_.clear();
    channel_->worker.epoch = 1;
    penstock_descriptor ready{};
    ready.kind = PENSTOCK_READY;
    ready.status = PENSTOCK_ABI_VERSION;
    put(ready);
    if (source_.below(4) != 0) listen();
  }

  void put(const penstock_descriptor& descriptor) {
    channel_->responses[channel_->worker.response_tail++ % SHAPE.entries] = descriptor;
  }

  template <typename Do>
  void on_some(Do&& act) {
    if (models_.empty()) return;
    auto chosen = models_.begin();
    std::advance(chosen, source_.below(static_cast<uint32_t>(models_.size())));
    act(Handle{chosen->first.first, chosen->first.second}, chosen->second);
  }

  void begin() {
    const std::span<char> room = link_->request_room();
    if (room.empty()) return;
    ASSERT(room.size() == SHAPE.chunk_bytes);
    const char mark = next_mark();
    std::memset(room.data(), mark, room.size());
    const uint32_t head = source_.below(2'000);
    const uint32_t body = source_.below(2'000);
    static constexpr penstock_to_worker FILTERS[] = {PENSTOCK_FILTER_REQUEST, PENSTOCK_FILTER_RESPONSE,
                                                     PENSTOCK_FILTER_LOG};
    const bool filters = link_->version() >= 3 && source_.below(4) == 0;
    const penstock_to_worker kind = filters ? FILTERS[source_.below(3)] : PENSTOCK_REQUEST;
    const bool more = kind == PENSTOCK_REQUEST && source_.below(2) == 0;
    const Handle exchange = link_->begin({.kind = kind,
                                          .serial = operations,
                                          .head_bytes = head,
                                          .body_bytes = body,
                                          .end = !more,
                                          .wants_body = source_.below(8) != 0});
    ASSERT(link_->is_open(exchange) && !models_.contains({exchange.index, exchange.generation}));
    models_[{exchange.index, exchange.generation}] = {
        .kind = kind, .request = room.subspan(0, head + body), .mark = mark};
    look_at_marks();
    with_body_ = more ? exchange : Handle{};
  }

  void send_body() {
    if (!with_body_.valid() || !link_->is_open(with_body_)) return;
    const std::string bytes(source_.below(6'000), next_mark());
    const bool end = source_.below(4) == 0;
    const size_t taken = link_->send_body(with_body_, bytes, end);
    ASSERT(taken <= std::min<size_t>(bytes.size(), SHAPE.chunk_bytes));
    look_at_marks();
    if (end && taken == bytes.size()) with_body_ = {};
  }

  char next_mark() { return static_cast<char>(++marks_); }

  void look_at_marks() const {
    for (const auto& [handle, model] : models_) {
      ASSERT(std::ranges::all_of(model.request, [&model](char c) { return c == model.mark; }));
    }
  }

  // What a worker may never do to the shared words.
  void scribble() {
    uint32_t* const words[] = {&channel_->worker.request_head, &channel_->worker.response_tail,
                               &channel_->worker.sleeping, &channel_->worker.epoch, &channel_->worker.epoch_tail};
    if (source_.below(16) == 0) *words[source_.below(5)] = source_.below(UINT32_MAX);
    channel_->worker_arena[source_.below(SHAPE.arena_bytes)] = static_cast<unsigned char>(source_.below(256));
    // Honest reading: without it the ring of requests would fill.
    if (source_.below(2) == 0) channel_->worker.request_head = channel_->server.request_tail;
  }

  // A response head in the arena, mostly well formed.
  uint32_t write_head(uint32_t at) {
    penstock_response_head head{};
    head.field_count = source_.below(4);
    head.fields_at = sizeof head;
    head.bytes = static_cast<uint32_t>(sizeof head + head.field_count * sizeof(penstock_field) + 64);
    std::vector<unsigned char> block(head.bytes, 'x');
    const uint32_t texts_at = head.bytes - 64;
    const bool policy = source_.below(3) == 0;
    if (policy) {
      head.policy_at = head.bytes;
      const penstock_policy says{.flags = source_.below(2),
                                 .revalidate_ms = 7,
                                 .error_ms = 8,
                                 .vary_count = static_cast<uint16_t>(source_.below(10)),
                                 .tag_count = static_cast<uint16_t>(source_.below(34)),
                                 .texts_at = head.policy_at + static_cast<uint32_t>(sizeof(penstock_policy)),
                                 .reserved = 0};
      const uint32_t texts = says.vary_count + uint32_t{says.tag_count};
      block.resize(says.texts_at + texts * sizeof(penstock_text) - source_.below(2) * source_.below(9));
      std::memcpy(block.data() + head.policy_at, &says, sizeof says);
      for (uint32_t i = 0; says.texts_at + (i + 1) * sizeof(penstock_text) <= block.size(); ++i) {
        const penstock_text text{texts_at, 1 + source_.below(40)};
        std::memcpy(block.data() + says.texts_at + i * sizeof text, &text, sizeof text);
      }
      head.bytes = static_cast<uint32_t>(block.size());
    }
    std::memcpy(block.data(), &head, sizeof head);
    for (uint32_t i = 0; i < head.field_count; ++i) {
      const penstock_field field{.name = {texts_at, 1 + source_.below(20)},
                                 .value = {texts_at + 20, source_.below(40)}};
      std::memcpy(block.data() + sizeof head + i * sizeof field, &field, sizeof field);
    }
    if (source_.below(8) == 0)
      block[source_.below(static_cast<uint32_t>(block.size()))] = static_cast<unsigned char>(source_.below(256));
    const uint32_t room = SHAPE.arena_bytes - at;
    std::memcpy(channel_->worker_arena.data() + at, block.data(), std::min(room, head.bytes));
    return head.bytes;
  }

  // A verdict in the arena, mostly well formed and of its moment.
  uint32_t write_verdict(uint32_t at, penstock_to_worker kind) {
    const bool of_request = kind == PENSTOCK_FILTER_REQUEST || source_.below(16) == 0;
    penstock_verdict says{};
    says.edit_count = kind != PENSTOCK_FILTER_LOG || source_.below(16) == 0 ? source_.below(4) : 0;
    says.edits_at = sizeof says;
    says.bytes = static_cast<uint32_t>(sizeof says + says.edit_count * sizeof(penstock_edit) + 64);
    const uint32_t texts_at = says.bytes - 64;
    says.wants = of_request ? source_.below(source_.below(8) == 0 ? 5 : 4) : 0;
    says.target = {texts_at, of_request ? source_.below(30) : 0};
    says.log = {texts_at, source_.below(source_.below(8) == 0 ? 70 : 60)};
    std::vector<unsigned char> block(says.bytes, 'y');
    std::memcpy(block.data(), &says, sizeof says);
    for (uint32_t i = 0; i < says.edit_count; ++i) {
      const uint32_t what = source_.below(16) == 0 ? source_.below(6) : 1 + source_.below(2);
      const penstock_edit edit{what, 0, {texts_at, 1 + source_.below(20)}, {texts_at + 20, source_.below(45)}};
      std::memcpy(block.data() + sizeof says + i * sizeof edit, &edit, sizeof edit);
    }
    if (source_.below(8) == 0)
      block[source_.below(static_cast<uint32_t>(block.size()))] = static_cast<unsigned char>(source_.below(256));
    std::memcpy(channel_->worker_arena.data() + at, block.data(), std::min(SHAPE.arena_bytes - at, says.bytes));
    return says.bytes;
  }

  void say() {
    penstock_descriptor to{};
    static constexpr uint8_t KINDS[] = {PENSTOCK_HEAD,    PENSTOCK_HEAD,     PENSTOCK_HEAD,     PENSTOCK_DATA,
                                        PENSTOCK_DATA,    PENSTOCK_FILE,     PENSTOCK_ENTRY,    PENSTOCK_LOG,
                                        PENSTOCK_PONG,    PENSTOCK_CONSUMED, PENSTOCK_CONSUMED, PENSTOCK_ABORT,
                                        PENSTOCK_EXECUTE, PENSTOCK_VERDICT};
    to.kind = KINDS[source_.below(sizeof KINDS)];
    to.flags = source_.below(3) == 0 ? PENSTOCK_END : 0;
    penstock_to_worker kind = PENSTOCK_REQUEST;
    on_some([&](Handle exchange, const Model& model) {
      kind = model.kind;
      to.slot = static_cast<uint16_t>(exchange.index);
      to.generation = exchange.generation;
      // Else a filter's exchange would end at the first word, and most of its verdicts would come to nothing.
      if (model.kind != PENSTOCK_REQUEST && source_.below(16) != 0) to.kind = PENSTOCK_VERDICT;
    });
    const bool text = to.kind != PENSTOCK_CONSUMED && to.kind != PENSTOCK_ABORT && to.kind != PENSTOCK_PONG &&
                      to.kind != PENSTOCK_VERDICT;
    if (text) {
      to.body_at = source_.below(SHAPE.arena_bytes / 2);
      to.body_bytes = source_.below(source_.below(8) == 0 ? SHAPE.arena_bytes / 2 + 512 : 200);
    }
    switch (to.kind) {
      case PENSTOCK_HEAD:
        to.status = static_cast<uint16_t>(200 + source_.below(400));
        to.head_at = source_.below(SHAPE.arena_bytes);
        to.head_bytes = write_head(to.head_at);
        to.length = source_.below(2) == 0 ? PENSTOCK_LENGTH_UNKNOWN : to.body_bytes + source_.below(400);
        break;
      case PENSTOCK_VERDICT:
        to.flags = PENSTOCK_END;
        if (kind == PENSTOCK_FILTER_RESPONSE) to.status = static_cast<uint16_t>(195 + source_.below(410));
        to.head_at = source_.below(SHAPE.arena_bytes / 2);
        to.head_bytes = write_verdict(to.head_at, kind);
        break;
      case PENSTOCK_CONSUMED:
        to.credit = 1 + source_.below(2);
        break;
      case PENSTOCK_ABORT:
      case PENSTOCK_EXECUTE:
        to.flags = PENSTOCK_END;
        break;
      case PENSTOCK_PONG:
        to.flags = 0;
        to.slot = 0;
        to.generation = 0;
        break;
      case PENSTOCK_LOG:
        to.flags = 0;
        break;
      default:
        break;
    }
    if (source_.below(16) == 0) {  // one byte of it is wrong
      auto* const bytes = reinterpret_cast<unsigned char*>(&to);
      bytes[source_.below(sizeof to)] = static_cast<unsigned char>(source_.below(256));
    }
    put(to);
  }

  bool in_arena(std::string_view body) const {
    const auto* const start = reinterpret_cast<const char*>(channel_->worker_arena.data());
    return body.empty() || (body.data() >= start && body.data() + body.size() <= start + SHAPE.arena_bytes);
  }

  void listen() {
    LinkEvent event;
    while (link_->next(event)) check(event);
    if (link_->violation() == LinkViolation::NONE) {
      ASSERT(link_->open_exchanges() == models_.size());
      if (models_.empty()) ASSERT(link_->free_chunks() == SHAPE.chunks);
      return;
    }
    ++violations[link_->violation()];
    ASSERT(!link_->ready() && link_->request_room().empty() && !link_->flush());
    start();
  }

  void check(const LinkEvent& event) {
    ++events;
    ASSERT(in_arena(event.body));
    uint64_t text = 0;
    for (const LinkField& field : event.fields) {
      ASSERT(!field.name.empty());
      for (const char c : field.name) text += static_cast<unsigned char>(c);  // the sanitizer looks on
      for (const char c : field.value) text += static_cast<unsigned char>(c);
    }
    if (event.policy != nullptr) {
      ASSERT(event.policy->vary.size() <= PENSTOCK_POLICY_VARY_MAX);
      ASSERT(event.policy->tags.size() <= PENSTOCK_POLICY_TAGS_MAX);
      for (const std::string_view name : event.policy->vary) {
        for (const char c : name) text += static_cast<unsigned char>(c);
      }
      for (const std::string_view tag : event.policy->tags) {
        for (const char c : tag) text += static_cast<unsigned char>(c);
      }
    }
    if (event.verdict != nullptr) {
      ASSERT(event.verdict->edits.size() <= LIMITS.fields_max);
      for (const LinkEdit& edit : event.verdict->edits) {
        ASSERT(!edit.name.empty() && edit.what >= PENSTOCK_EDIT_SET && edit.what <= PENSTOCK_EDIT_REMOVE);
        for (const char c : edit.name) text += static_cast<unsigned char>(c);
        for (const char c : edit.value) text += static_cast<unsigned char>(c);
      }
      for (const char c : event.verdict->target) text += static_cast<unsigned char>(c);
      for (const char c : event.verdict->log) text += static_cast<unsigned char>(c);
    }
    for (const char c : event.body) text += static_cast<unsigned char>(c);
    sum_ += text;
    using Kind = LinkEvent::Kind;
    if (event.kind == Kind::READY || event.kind == Kind::PONG) return;
    const auto found = models_.find({event.exchange.index, event.exchange.generation});
    ASSERT(found != models_.end());
    Model& model = found->second;
    ASSERT(model.cancelled == (event.kind == Kind::ENDED));
    if (event.kind == Kind::HEAD) {
      ASSERT(!model.has_head && event.status >= 200 && event.status <= 599);
      model.has_head = true;
    }
    const bool filters = model.kind != PENSTOCK_REQUEST;
    if (event.kind == Kind::HEAD) ASSERT(!filters || model.kind == PENSTOCK_FILTER_REQUEST);
    if (event.kind == Kind::EXECUTE) ASSERT(!filters);
    if (event.kind == Kind::VERDICT) {
      ASSERT(event.verdict != nullptr);
      ++verdicts;
      ASSERT(filters && event.end && !model.has_head);
      const bool of_request = model.kind == PENSTOCK_FILTER_REQUEST;
      const bool says_target = !event.verdict->target.empty();
      ASSERT(of_request || (!says_target && !event.verdict->wants_response && !event.verdict->wants_log));
      ASSERT(event.status == 0 || (model.kind == PENSTOCK_FILTER_RESPONSE && event.status >= 200));
      ASSERT(model.kind != PENSTOCK_FILTER_LOG || event.verdict->edits.empty());
    }
    if (event.kind == Kind::DATA || event.kind == Kind::FILE || event.kind == Kind::ENTRY) ASSERT(model.has_head);
    if (event.kind == Kind::HEAD || event.kind == Kind::DATA) model.taken += event.body.size();
    ASSERT(model.taken <= model.allowed);
    ASSERT(event.end == !link_->is_open(event.exchange));
    if (event.end) models_.erase(found);
  }

  Source& source_;
  std::unique_ptr<PlainChannel> channel_;
  std::unique_ptr<ServerLink> link_;
  std::map<std::pair<uint32_t, uint32_t>, Model> models_;
  Handle with_body_;
  uint64_t sum_ = 0;
  uint8_t marks_ = 0;  // of requests and bodies: those that are there at a time are fewer than it has values
};

}  // namespace penstock
