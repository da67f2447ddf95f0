// Invariant: a record is only ever resolved against the tables of its own epoch (the blocks since the last
// BLOCK_RESET of its file), so that no line carries a string of another request.
#include "src/log/drain/convert.h"

#include "src/base/bytes.h"
#include "src/log/drain/binary_reader.h"

#include <algorithm>
#include <memory>
#include <queue>
#include <vector>

namespace penstock {
namespace {

constexpr size_t SINK_BYTES = 256 * 1024;

// Strings of one table, escaped, by id.
class EscapedTable {
 public:
  EscapedTable() { spans_.push_back({0, 0}); }
  void add(Escape escape, std::string_view text) {
    const size_t offset = bytes_.size();
    bytes_.resize(offset + text.size() * ESCAPE_GROWTH_MAX);
    const size_t size = escape_text(escape, text, bytes_.data() + offset);
    bytes_.resize(offset + size);
    spans_.push_back({offset, size});
  }
  [[nodiscard]] std::string_view at(size_t id) const {
    if (id >= spans_.size()) return {};
    return {bytes_.data() + spans_[id].offset, spans_[id].size};
  }

 private:
  struct Span {
    size_t offset;
    size_t size;
  };
  std::vector<Span> spans_;
  std::string bytes_;
};

struct Epoch {
  EscapedTable small;
  EscapedTable large;
  struct Endpoint {
    uint16_t port;
    uint16_t address_bytes;  // of the escaped text
  };
  std::vector<Endpoint> endpoints{{0, 0}};  // by id of the small table, for those that are a server's

  void add(Escape escape, const BinaryReader::Block& block) {
    std::string_view payload = block.payload;
    std::string_view text;
    for (uint32_t i = 0; i < block.header.count && take_string(payload, text); ++i) {
      if (block.header.kind == BlockKind::STRINGS_LARGE) {
        large.add(escape, text);
        continue;
      }
      // A server endpoint, "address port", comes apart here; the port is only looked up by records that name it as
      // such.
      const size_t space = text.find(' ');
      const uint64_t port = space == text.npos ? 0 : parse_decimal(text.substr(space + 1)).value_or(0);
      small.add(escape, text);
      const std::string_view escaped = small.at(endpoints.size());
      const size_t address =
          std::min({escaped.size(), escaped.find_first_of(" +"), size_t{UINT16_MAX}});  // " " may be escaped
      endpoints.push_back({static_cast<uint16_t>(port <= UINT16_MAX ? port : 0), static_cast<uint16_t>(address)});
    }
  }
  [[nodiscard]] Endpoint endpoint(size_t id) const { return id < endpoints.size() ? endpoints[id] : Endpoint{0, 0}; }
};

// All that a binary log has of a record, over the one before it.
void set_entry(AccessEntry& entry, const BinaryRecord& record, const BlockHeader& header, const Epoch& epoch) {
  set_numbers(entry, record, header);
  const auto set = [&](Text which, std::string_view text) { entry.texts[static_cast<size_t>(which)] = text; };
  set(Text::method, epoch.small.at(record.method));
  set(Text::site, epoch.small.at(record.site));
  set(Text::user, epoch.small.at(record.user));
  set(Text::target, epoch.large.at(record.target));
  set(Text::host, epoch.large.at(record.host));
  set(Text::user_agent, epoch.large.at(record.user_agent));
  set(Text::referer, epoch.large.at(record.referer));
  entry.texts[ENTRY_CLIENT_IP] = epoch.large.at(record.client);
  const Epoch::Endpoint server = epoch.endpoint(record.server);
  entry.texts[ENTRY_SERVER_IP] = epoch.small.at(record.server).substr(0, server.address_bytes);
  entry.server_port = server.port;
}

// One record of a sorted conversion.
struct Place {
  uint64_t seq;
  int64_t time;
  uint32_t stream;
  uint32_t block;
  uint32_t index;
};

class Converter {
 public:
  Converter(const ConvertOptions& options, const LogSink& sink)
      : escape_(escape_of(options.line.format)), order_(options.order), format_(options.line), sink_(sink) {}

  [[nodiscard]] Status file(std::string_view bytes);
  [[nodiscard]] Status finish();
  [[nodiscard]] Status start(WallTime now) {
    format_.header(out_, now);
    return {};
  }
  ConvertReport report;

 private:
  struct Kept {  // a RECORDS block of a sorted conversion
    BinaryReader::Block block;
    size_t epoch;
  };
  struct Stream {
    uint64_t instance;
    uint32_t reactor;
  };

  [[nodiscard]] Status flush(size_t at_least) {
    if (out_.size() < at_least || out_.size() == 0) return {};
    Status status = sink_(out_.view());
    out_.clear();
    return status;
  }
  [[nodiscard]] Status record(const BinaryReader::Block& block, uint32_t index, const Epoch& epoch);
  [[nodiscard]] Status records(const BinaryReader::Block& block);
  void keep(const BinaryReader::Block& block);
  uint32_t stream_of(const BlockHeader& header);

  Escape escape_;
  LogOrder order_;
  LineFormat format_;
  AccessEntry entry_;
  const LogSink& sink_;
  LineBuffer out_;
  std::vector<std::unique_ptr<Epoch>> epochs_;  // the last is the current one; sorted conversions keep all
  std::vector<Kept> kept_;
  std::vector<Place> places_;
  std::vector<Stream> streams_;
};

Status Converter::file(std::string_view bytes) {
  Result<BinaryReader> reader = BinaryReader::open(bytes);
  if (!reader) return std::unexpected(reader.error());
  bool usable = false;  // until a block resets the tables, ids mean nothing
  BinaryReader::Block block;
  while (reader->next(block)) {
    if (block.after_damage) usable = false;
    if ((block.header.flags & BLOCK_RESET) != 0) {
      if (order_ == LogOrder::FILE) epochs_.clear();
      epochs_.push_back(std::make_unique<Epoch>());
      usable = true;
    }
    switch (block.header.kind) {
      case BlockKind::STRINGS_SMALL:
      case BlockKind::STRINGS_LARGE:
        if (usable) epochs_.back()->add(escape_, block);
        break;
      case BlockKind::RECORDS:
        if (!usable) {
          report.skipped_records += block.header.count;
        } else if (order_ != LogOrder::FILE) {
          keep(block);
        } else if (Status ok = records(block); !ok) {
          return ok;
        }
        break;
      case BlockKind::GAP:
        report.dropped += block.header.first_seq;
        if (order_ == LogOrder::FILE) format_.gap(out_, block.header.reactor, block.header.first_seq);
        break;
    }
  }
  report.skipped_bytes += reader->skipped_bytes();
  return {};
}

Status Converter::record(const BinaryReader::Block& block, uint32_t index, const Epoch& epoch) {
  set_entry(entry_, record_at(block, index), block.header, epoch);
  format_.line(out_, entry_);
  ++report.records;
  return flush(SINK_BYTES);
}

Status Converter::records(const BinaryReader::Block& block) {
  for (uint32_t i = 0; i < block.header.count; ++i) {
    if (Status ok = record(block, i, *epochs_.back()); !ok) return ok;
  }
  return {};
}

uint32_t Converter::stream_of(const BlockHeader& header) {
  for (size_t i = 0; i < streams_.size(); ++i) {
    if (streams_[i].instance == header.instance && streams_[i].reactor == header.reactor)
      return static_cast<uint32_t>(i);
  }
  streams_.push_back({header.instance, header.reactor});
  return static_cast<uint32_t>(streams_.size() - 1);
}

void Converter::keep(const BinaryReader::Block& block) {
  const uint32_t stream = stream_of(block.header);
  for (uint32_t i = 0; i < block.header.count; ++i) {
    const AccessEntry entry = entry_of(record_at(block, i), block.header);
    const bool start = order_ == LogOrder::START;
    const auto taken = static_cast<uint64_t>(entry.duration_us) * 1000;
    const int64_t end = static_cast<int64_t>(static_cast<uint64_t>(entry.begin_wall) + taken);
    places_.push_back({.seq = start ? entry.seq_start : entry.seq_finish,
                       .time = start ? entry.begin_wall : end,
                       .stream = stream,
                       .block = static_cast<uint32_t>(kept_.size()),
                       .index = i});
  }
  kept_.push_back({block, epochs_.size() - 1});
}

// Each stream by its sequence numbers, then the streams merged by time.
Status Converter::finish() {
  std::sort(places_.begin(), places_.end(),
            [](const Place& a, const Place& b) { return a.stream != b.stream ? a.stream < b.stream : a.seq < b.seq; });
  struct Cursor {
    size_t at;
    size_t end;
  };
  const auto later = [this](const Cursor& a, const Cursor& b) {
    const Place& x = places_[a.at];
    const Place& y = places_[b.at];
    return x.time != y.time ? x.time > y.time : x.stream > y.stream;
  };
  std::priority_queue<Cursor, std::vector<Cursor>, decltype(later)> heads(later);
  for (size_t begin = 0; begin < places_.size();) {
    size_t end = begin;
    while (end < places_.size() && places_[end].stream == places_[begin].stream) ++end;
    heads.push({begin, end});
    begin = end;
  }
  while (!heads.empty()) {
    Cursor cursor = heads.top();
    heads.pop();
    const Place& place = places_[cursor.at];
    const Kept& kept = kept_[place.block];
    if (Status ok = record(kept.block, place.index, *epochs_[kept.epoch]); !ok) return ok;
    if (++cursor.at < cursor.end) heads.push(cursor);
  }
  return flush(1);
}

}  // namespace

Result<ConvertReport> convert_binary_logs(std::span<const std::string_view> files, WallTime now,
                                          const ConvertOptions& options, const LogSink& sink) {
  Converter converter(options, sink);
  if (Status ok = converter.start(now); !ok) return std::unexpected(ok.error());
  for (const std::string_view file : files) {
    if (Status ok = converter.file(file); !ok) return std::unexpected(ok.error());
  }
  if (Status ok = converter.finish(); !ok) return std::unexpected(ok.error());
  return converter.report;
}

}  // namespace penstock
