#include "src/base/sha256.h"

#include <gtest/gtest.h>
#include <initializer_list>
#include <string>

namespace penstock {
namespace {

std::string sum_of(std::string_view text, size_t piece = SIZE_MAX) {
  Sha256 sum;
  while (!text.empty()) {
    const std::string_view next = text.substr(0, piece);
    sum.add(next);
    text.remove_prefix(next.size());
  }
  return hex_of(sum.finish());
}

TEST(Sha256, gives_the_sums_of_the_standard) {
  EXPECT_EQ(sum_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sum_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sum_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sum_of(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, is_the_same_in_one_piece_and_in_many) {
  for (const size_t size : std::initializer_list<size_t>{55, 56, 63, 64, 65, 119, 128, 1'000}) {
    const std::string text(size, 'x');
    for (const size_t piece : std::initializer_list<size_t>{1, 7, 63, 64, 65})
      EXPECT_EQ(sum_of(text, piece), sum_of(text)) << size << " " << piece;
  }
}

}  // namespace
}  // namespace penstock
