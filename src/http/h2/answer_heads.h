// H2AnswerHeads: heads of answers, read once, and lent to nghttp2 until their frames are written.
//
// Of one transport, one thread. The head of a hot answer comes again and again, to the last byte: it is read and laid
// out for nghttp2 once, which takes it from there without a copy. One that is lent is never written: the next that
// differs gets another place, of which there are never more than HEADERS frames wait.
#pragma once

#include "src/base/assert.h"

#include <cstdint>
#include <memory>
#include <nghttp2/nghttp2.h>
#include <string>
#include <vector>

namespace penstock {

// A head as it came out. The fields point into `text`.
struct H2AnswerHead {
  uint16_t status = 0;
  bool is_final = false;           // not 1xx
  std::vector<nghttp2_nv> fields;  // without those that speak of the connection; ":status" first; names in lower case
  bool chunked = false;
  bool has_length = false;
  uint64_t length = 0;
  std::string source;   // as it came; empty: nothing of the rest holds
  std::string text;     // the same with its names in lower case
  uint32_t lent = 0;    // to frames that are not written yet
  uint64_t serial = 0;  // another one for each that is read
};

class H2AnswerHeads {
 public:
  H2AnswerHeads() : newest_(new_head()) {}
  H2AnswerHeads(const H2AnswerHeads&) = delete;
  H2AnswerHeads& operator=(const H2AnswerHeads&) = delete;
  ~H2AnswerHeads() = default;

  // The one that was read last.
  [[nodiscard]] H2AnswerHead& newest() { return *newest_; }
  // One to read another into, which is the newest from now on.
  [[nodiscard]] H2AnswerHead& renew() {
    if (newest_->lent > 0) {
      lent_.push_back(std::move(newest_));
      newest_ = spare_ != nullptr ? std::move(spare_) : new_head();
    }
    newest_->source.clear();
    newest_->serial = ++serials_;
    return *newest_;
  }
  [[nodiscard]] H2AnswerHead* lend() {
    ++newest_->lent;
    return newest_.get();
  }
  void give_back(H2AnswerHead* head) {
    ASSERT(head->lent > 0);
    if (--head->lent > 0 || head == newest_.get()) return;
    for (auto& one : lent_) {  // mostly the first: frames are written in order
      if (one.get() != head) continue;
      spare_ = std::move(one);
      lent_.erase(lent_.begin() + (&one - lent_.data()));
      return;
    }
  }

 private:
  static std::unique_ptr<H2AnswerHead> new_head() { return std::make_unique<H2AnswerHead>(); }

  uint64_t serials_ = 0;
  std::unique_ptr<H2AnswerHead> newest_;
  std::unique_ptr<H2AnswerHead> spare_;
  std::vector<std::unique_ptr<H2AnswerHead>> lent_;  // that are not the newest any more
};

}  // namespace penstock
