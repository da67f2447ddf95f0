#include "tests/net_tap/tap_device.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

namespace penstock {
namespace {

size_t give(std::vector<uint32_t>& done, std::span<uint32_t> holds) {
  const size_t count = std::min(done.size(), holds.size());
  std::copy_n(done.end() - static_cast<ptrdiff_t>(count), count, holds.begin());
  done.resize(done.size() - count);
  return count;
}

}  // namespace

std::unique_ptr<TapDevice> TapDevice::open(const std::string& name, std::string& wrong) {
  char text[128];
  const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    wrong = std::string("/dev/net/tun: ") + strerror_r(errno, text, sizeof text);
    return nullptr;
  }
  ifreq request = {};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(fd, TUNSETIFF, &request) != 0) {
    wrong = "a TAP device: " + std::string(strerror_r(errno, text, sizeof text));
    ::close(fd);
    return nullptr;
  }
  return std::unique_ptr<TapDevice>(new TapDevice(fd));
}

TapDevice::TapDevice(int fd) : fd_(fd), memory_(size_t{FRAMES} * FRAME_BYTES) {
  for (uint32_t i = FRAMES; i > 0; --i) free_.push_back(i - 1);
}

size_t TapDevice::rx_burst(std::span<RxFrame> out) {
  size_t count = 0;
  while (count < out.size() && !free_.empty()) {
    const uint32_t token = free_.back();
    uint8_t* room = &memory_[size_t{token} * FRAME_BYTES];
    const ssize_t got = ::read(fd_.get(), room, FRAME_BYTES);
    if (got <= 0) break;
    free_.pop_back();
    out[count++] = {.data = room, .size = static_cast<uint32_t>(got), .token = token};
  }
  return count;
}

size_t TapDevice::tx_burst(std::span<const TxFrame> frames) {
  for (size_t i = 0; i < frames.size(); ++i) {
    const TxFrame& frame = frames[i];
    iovec parts[1 + TxFrame::PARTS_MAX] = {{const_cast<uint8_t*>(frame.head), frame.head_bytes}};
    for (size_t part = 0; part < frame.part_count; ++part)
      parts[1 + part] = {const_cast<uint8_t*>(frame.parts[part].data), frame.parts[part].size};
    if (::writev(fd_.get(), parts, 1 + frame.part_count) < 0) return i;
    for (size_t part = 0; part < frame.part_count; ++part) done_.push_back(frame.parts[part].hold);
  }
  return frames.size();
}

size_t TapDevice::tx_done(std::span<uint32_t> holds) { return give(done_, holds); }

size_t FaultyDevice::rx_burst(std::span<RxFrame> out) {
  size_t count = 0;
  std::array<RxFrame, 64> fresh;
  const size_t room = out.size() > late_in_.size() ? out.size() - late_in_.size() : 0;
  const size_t came = inner_.rx_burst(std::span(fresh).first(std::min(fresh.size(), room)));
  for (size_t i = 0; i < came; ++i) {
    if (happens(faults_.lose_one_in)) {
      ++lost_;
      inner_.rx_release(fresh[i].token);
      continue;
    }
    if (happens(faults_.delay_one_in)) {
      ++delayed_;
      late_in_.push_back({fresh[i], 1 + prng_.below(8)});
      continue;
    }
    out[count++] = fresh[i];
    for (auto& late : late_in_) late.overtakers -= late.overtakers != 0;
  }
  // With nothing behind it, a frame comes at last, one turn later.
  while (!late_in_.empty() && (late_in_.front().overtakers == 0 || came == 0) && count < out.size()) {
    out[count++] = late_in_.front().frame;
    late_in_.pop_front();
  }
  if (came == 0) {
    for (auto& late : late_out_) write(late.frame);
    late_out_.clear();
  }
  return count;
}

size_t FaultyDevice::tx_burst(std::span<const TxFrame> frames) {
  for (const TxFrame& frame : frames) {
    std::vector<uint8_t> bytes(frame.head, frame.head + frame.head_bytes);
    for (const TxPart& part : std::span(frame.parts).first(frame.part_count)) {
      bytes.insert(bytes.end(), part.data, part.data + part.size);
      done_.push_back(part.hold);
    }
    if (happens(faults_.lose_one_in)) {
      ++lost_;
      continue;
    }
    if (happens(faults_.delay_one_in)) {
      ++delayed_;
      late_out_.push_back({std::move(bytes), 1 + prng_.below(8)});
      continue;
    }
    write(bytes);
    for (auto& late : late_out_) late.overtakers -= late.overtakers != 0;
    while (!late_out_.empty() && late_out_.front().overtakers == 0) {
      write(late_out_.front().frame);
      late_out_.pop_front();
    }
  }
  return frames.size();
}

size_t FaultyDevice::tx_done(std::span<uint32_t> holds) { return give(done_, holds); }

void FaultyDevice::write(std::vector<uint8_t>& bytes) {
  const TxFrame frame{.head = bytes.data(), .head_bytes = static_cast<uint16_t>(bytes.size())};
  if (inner_.tx_burst({&frame, 1}) == 0) ++lost_;
}

}  // namespace penstock
