#include "src/log/drain/log_books.h"

#include "src/base/assert.h"

#include <algorithm>
#include <utility>

namespace penstock {

uint64_t log_number(std::string_view name) {  // FNV-1a: for good, it outlives the process
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash | 1;
}

LogBooks::LogBooks(std::vector<const JournalMap*> maps, std::string computer_name, uint64_t hash_seed)
    : maps_(std::move(maps)), computer_name_(std::move(computer_name)), hash_seed_(hash_seed) {
  books_.push_back(open_book(""));
}

// Nothing if there is no more place in the rings.
std::unique_ptr<LogBooks::Book> LogBooks::open_book(const std::string& name) const {
  auto book = std::make_unique<Book>();
  book->name = name;
  std::vector<RingReader*> rings;
  for (const JournalMap* map : maps_) {
    book->rings.push_back(name.empty() ? std::make_unique<RingReader>(*map) : RingReader::open(*map, log_number(name)));
    if (book->rings.back() == nullptr) return nullptr;
    rings.push_back(book->rings.back().get());
  }
  book->drain = std::make_unique<Drain>(std::move(rings), computer_name_, hash_seed_);
  return book;
}

// Of logs that are not among `logs`; also those that a predecessor had.
void LogBooks::close_books(std::span<const AccessLogSettings> logs, MonoTime now, WallTime wall) {
  const auto stays = [&](const std::unique_ptr<Book>& book) {
    return std::ranges::any_of(logs, [&](const AccessLogSettings& log) { return log.name == book->name; });
  };
  for (const std::unique_ptr<Book>& book : books_) {
    if (stays(book)) continue;
    while (book->drain->pass(now, wall).wait == Duration{0}) {
    }
  }
  std::erase_if(books_, [&](const auto& book) { return !stays(book); });
  std::vector<uint64_t> kept;
  for (const AccessLogSettings& log : logs) {
    if (!log.name.empty()) kept.push_back(log_number(log.name));
  }
  for (const JournalMap* map : maps_) RingReader::forget_logs(*map, kept);
}

Status LogBooks::apply(std::span<const AccessLogSettings> logs, MonoTime now, WallTime wall) {
  ASSERT(!logs.empty() && logs.front().name.empty());
  close_books(logs, now, wall);  // first: another log may take over a file
  Status result;
  const auto note = [&result](Status one) {
    if (!one && result) result = std::move(one);
  };
  for (const AccessLogSettings& log : logs) {
    auto at = std::ranges::find(books_, log.name, [](const auto& book) -> const std::string& { return book->name; });
    if (at == books_.end()) {
      std::unique_ptr<Book> book = open_book(log.name);
      if (book == nullptr) {
        note(fail("logfile." + log.name + ": more than " + std::to_string(LOGS_MAX - 1) + " log files"));
        continue;
      }
      at = books_.insert(books_.end(), std::move(book));
    }
    note((*at)->drain->apply(log, now, wall));
  }
  return result;
}

Duration LogBooks::pass(MonoTime now, WallTime wall) {
  Duration wait = Drain::UNTIL_BELL;
  bool again = false, all_asleep = true, all_awake = true;
  for (const auto& book : books_) {
    const DrainRest rest = book->drain->pass(now, wall);
    again = again || rest.wait == Duration{0};
    all_asleep = all_asleep && rest.state == DrainState::ASLEEP;
    all_awake = all_awake && rest.state == DrainState::AWAKE;
    if (rest.wait != Drain::UNTIL_BELL) wait = wait == Drain::UNTIL_BELL ? rest.wait : std::min(wait, rest.wait);
  }
  if (again) return {0};
  // One that would sleep is not woken while another waits on a timer: it looks as often as it would in work.
  if (!all_asleep && !all_awake) wait = std::min(wait, Drain::BATCH_INTERVAL);
  const DrainState state = all_asleep ? DrainState::ASLEEP : all_awake ? DrainState::AWAKE : DrainState::DOZING;
  for (const auto& ring : books_.front()->rings) ring->announce(state);
  // What came before the reactors knew rings no bell.
  if (all_asleep && !drained()) return {0};
  return wait;
}

Status LogBooks::rotate(WallTime wall) {
  Status result;
  for (const auto& book : books_) {
    if (Status one = book->drain->rotate(wall); !one && result) result = std::move(one);
  }
  return result;
}

bool LogBooks::drained() const {
  return std::ranges::all_of(books_, [](const auto& book) { return book->drain->drained(); });
}

bool LogBooks::wanted() const {
  return std::ranges::any_of(books_, [](const auto& book) { return book->drain->settings().wanted(); });
}

std::optional<std::string> LogBooks::take_message() {
  for (const auto& book : books_) {
    if (auto message = book->drain->take_message()) return message;
  }
  return std::nullopt;
}

const Drain* LogBooks::find(std::string_view name) const {
  const auto at = std::ranges::find(books_, name, [](const auto& book) { return std::string_view(book->name); });
  return at == books_.end() ? nullptr : (*at)->drain.get();
}

}  // namespace penstock
