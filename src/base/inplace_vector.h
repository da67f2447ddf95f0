// InplaceVector<T, N>: up to N values in a row within the object itself, as C++26's std::inplace_vector.
//
// Making one writes nothing but its count, so that what is made for every request costs what is in it and not what
// could be: T's default values are never written. T is trivially copyable. It never grows beyond N: full() is asked
// before, or push_back() is a bug. One owner, one thread.
#pragma once

#include "src/base/assert.h"

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

namespace penstock {

template <typename T, size_t N>
class InplaceVector {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  InplaceVector() {}  // NOLINT: not defaulted, or T's default values would be written N times
  explicit InplaceVector(std::span<const T> values) { append(values); }
  InplaceVector(const InplaceVector&) = delete;
  InplaceVector& operator=(const InplaceVector&) = delete;
  ~InplaceVector() = default;

  [[nodiscard]] static constexpr size_t capacity() { return N; }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] bool full() const { return size_ == N; }

  // REQUIRES: !full().
  T& push_back(const T& value) {
    ASSERT(size_ < N);
    return *std::construct_at(values_ + size_++, value);
  }
  // REQUIRES: size() + values.size() ≤ N.
  void append(std::span<const T> values) {
    for (const T& value : values) push_back(value);
  }
  void clear() { size_ = 0; }

  [[nodiscard]] T& operator[](size_t i) { return values_[i]; }
  [[nodiscard]] const T& operator[](size_t i) const { return values_[i]; }
  [[nodiscard]] T& back() { return values_[size_ - 1]; }
  [[nodiscard]] std::span<const T> values() const { return {values_, size_}; }

 private:
  size_t size_ = 0;
  union {  // so that nothing is constructed before its time
    T values_[N];
  };
};

}  // namespace penstock
