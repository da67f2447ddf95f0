// A fuzzer's input as a list of deeds: bytes, and pieces of text, from the front; zeros once it is used up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

namespace penstock::test {

class FuzzDeeds {
 public:
  FuzzDeeds(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  uint8_t byte() {
    const uint8_t value = rest_.empty() ? 0 : static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(rest_.empty() ? 0 : 1);
    return value;
  }
  // Less where there is not so much.
  std::string_view text(size_t bytes) {
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view rest_;
};

// One of what there is. REQUIRES: there is something.
template <typename Map>
typename Map::value_type& pick(Map& from, size_t number) {
  auto it = from.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(number % from.size()));
  return *it;
}

}  // namespace penstock::test
