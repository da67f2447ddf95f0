#include "tests/sim/sim_client.h"

#include "src/base/bytes.h"

#include <algorithm>
#include <sys/socket.h>

namespace penstock {
namespace {

// The bytes of a request that must be refused with 400, and its connection closed.
constexpr const char* BAD_REQUESTS[] = {
    "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /huge.txt HTTP/1.1\r\nHost: sim.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n",
    "PUT /a.txt HTTP/1.1\r\nHost: sim.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA : b\r\n\r\n",
};

// Of these, what HTTP/2 can say: all else is a matter of HTTP/1.1's form.
constexpr const char* BAD_TARGETS[] = {
    "GET /%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /../x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
};

std::string field_of(const std::string& head, std::string_view name) {
  for (size_t at = head.find("\r\n"); at != std::string::npos; at = head.find("\r\n", at + 2)) {
    const size_t colon = head.find(':', at + 2);
    if (colon == std::string::npos) break;
    if (!iequals(std::string_view(head).substr(at + 2, colon - at - 2), name)) continue;
    const size_t end = head.find("\r\n", colon);
    return std::string(trim_ows(std::string_view(head).substr(colon + 1, end - colon - 1)));
  }
  return "";
}

}  // namespace

void SimHistory::put(const std::string& path, const std::string& bytes, MonoTime now) {
  std::vector<Version>& versions = versions_[path];
  if (versions.empty()) versions.push_back({.absent = true});
  versions.back().until = now;
  versions.push_back({.bytes = bytes});
}

void SimHistory::remove(const std::string& path, MonoTime now) {
  std::vector<Version>& versions = versions_[path];
  versions.back().until = now;
  versions.push_back({.absent = true});
}

bool SimHistory::was(const std::string& path, const std::string& bytes, MonoTime since) const {
  const auto found = versions_.find(path);
  if (found == versions_.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [&](const Version& version) {
    return !version.absent && version.until >= since && version.bytes == bytes;
  });
}

bool SimHistory::was_absent(const std::string& path, MonoTime since) const {
  const auto found = versions_.find(path);
  if (found == versions_.end()) return true;
  return std::any_of(found->second.begin(), found->second.end(),
                     [&](const Version& version) { return version.absent && version.until >= since; });
}

SimClient::SimClient(SimWorld& world, SimHistory& history, uint64_t seed)
    : world_(world), history_(history), prng_(seed), requests_left_(1 + prng_.below(12)) {}

bool SimClient::done() const { return requests_left_ == 0 && !connected_; }

std::string SimClient::state() const {
  return std::to_string(requests_left_) + " to ask, " + std::to_string(asked_.size()) + " asked" +
         (asked_.empty() ? "" : " (" + asked_.front().text.substr(0, 60) + ")") + ", " + std::to_string(in_.size()) +
         " bytes in, " + std::to_string(out_.size()) + " to send";
}

void SimClient::connect() {
  reactor_ = prng_.below(world_.reactors());
  PeerAddress peer;
  peer.family = AF_INET;
  peer.ip[0] = 127;
  peer.ip[3] = static_cast<uint8_t>(1 + prng_.below(200));
  wire_ = world_.connect(reactor_, peer);
  connected_ = true;
  half_closed_ = said_last_ = false;
}

void SimClient::add_get(Request& request, const std::string& path, const std::string& fields) const {
  request.text = (request.head ? "HEAD /" : "GET /") + path + " HTTP/1.1\r\nHost: sim.test\r\n" + fields + "\r\n";
  request.path = path;
}

SimClient::Request SimClient::make_request() {
  static constexpr const char* PATHS[] = {"a.txt",    "b.html",   "dir/c.txt", "large.txt",
                                          "huge.txt", "gone.txt", "empty.txt"};
  Request request;
  request.since = world_.clock().now();
  const std::string path = PATHS[prng_.below(std::size(PATHS))];
  switch (prng_.below(12)) {
    case 0:
      request.head = true;
      add_get(request, path, "");
      break;
    case 1:
      request.closes = true;
      add_get(request, path, "Connection: close\r\n");
      break;
    case 2:
      request.text = "POST /a.txt HTTP/1.1\r\nHost: sim.test\r\nContent-Length: 5\r\n\r\nhello";
      request.status = 405;
      break;
    case 3:
      request.text = "PUT /b HTTP/1.1\r\nHost: sim.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
      request.status = 405;
      break;
    case 4:
      request.text = is_over_h2(world_.protocol()) ? BAD_TARGETS[prng_.below(std::size(BAD_TARGETS))]
                                                   : BAD_REQUESTS[prng_.below(std::size(BAD_REQUESTS))];
      request.status = 400;
      request.closes = true;
      break;
    case 5:
      request.text = "GET /dir HTTP/1.1\r\nHost: sim.test\r\n\r\n";
      request.status = 301;
      break;
    case 6:
      request.text = "GET /moved/x?y=1 HTTP/1.1\r\nHost: sim.test\r\n\r\n";
      request.status = 308;
      break;
    case 7:
      request.range_first = 2;
      request.range_last = 2 + prng_.below(4);
      add_get(request, "large.txt", "Range: bytes=2-" + std::to_string(request.range_last) + "\r\n");
      request.status = 206;
      break;
    case 8:
      add_get(request, path, "Accept-Encoding: gzip;q=0, identity\r\n");
      break;
    default:
      add_get(request, path, "");
  }
  return request;
}

void SimClient::act(std::vector<std::string>& wrong) {
  if (done()) return;
  if (!connected_) connect();
  if (requests_left_ > 0 && !said_last_ && !half_closed_ && asked_.size() < 6 && prng_.one_in(2)) {
    --requests_left_;
    asked_.push_back(make_request());
    out_ += asked_.back().text;
    said_last_ = asked_.back().closes;
  }
  if (!out_.empty() && prng_.below(3) != 0) {
    const size_t size = prng_.one_in(3) ? 1 + prng_.below(static_cast<uint32_t>(out_.size())) : out_.size();
    wire_->send(std::string_view(out_).substr(0, size));
    out_.erase(0, size);
  }
  if (!winding_up_ && prng_.one_in(200)) wire_->reset();
  if (requests_left_ == 0 && out_.empty() && !half_closed_ && prng_.one_in(8)) {
    wire_->half_close();
    half_closed_ = true;
  }
  read_answers(wrong);
}

void SimClient::read_answers(std::vector<std::string>& wrong) {
  const size_t most = winding_up_ || prng_.one_in(2) ? SIZE_MAX : prng_.below(3000);  // some read slowly
  in_ += wire_->take(most);
  const SimWire::State state = wire_->state();
  const bool ended =
      state == SimWire::State::FINISHED || state == SimWire::State::RESET || state == SimWire::State::REFUSED;
  if (ended) in_ += wire_->take(SIZE_MAX);
  while (take_answer(ended, wrong)) {
  }
  if (const std::string fault = wire_->fault(); !fault.empty()) wrong.push_back(fault);
  if (!ended) return;
  // A reset may swallow answers; an orderly end may not, unless it was the server's to close or nothing was asked.
  if (state == SimWire::State::FINISHED && !in_.empty()) wrong.push_back("half an answer: " + in_.substr(0, 80));
  connected_ = false;
  asked_.clear();
  in_.clear();
  out_.clear();
  if (winding_up_) requests_left_ = 0;
}

bool SimClient::take_answer(bool at_end, std::vector<std::string>& wrong) {
  const size_t head_end = in_.find("\r\n\r\n");
  if (head_end == std::string::npos) return false;
  const std::string head = in_.substr(0, head_end + 4);
  if (!head.starts_with("HTTP/1.1 ") || head.size() < 12) {
    wrong.push_back("no answer begins so: " + head.substr(0, 60));
    in_.clear();
    return false;
  }
  const auto status = static_cast<uint16_t>(parse_decimal(head.substr(9, 3)).value_or(0));
  if (asked_.empty()) {
    wrong.push_back("an answer to no request: " + head);
    in_.clear();
    return false;
  }
  const Request request = asked_.front();
  const bool bodiless = request.head || status == 304 || status == 204;
  const std::optional<uint64_t> length = parse_decimal(field_of(head, "Content-Length"));
  if (!length && !bodiless) wrong.push_back("an answer without a length: " + head);
  const uint64_t size = bodiless ? 0 : length.value_or(0);
  if (in_.size() < head.size() + size) return false;
  (void)at_end;
  const std::string body = in_.substr(head.size(), size);
  in_.erase(0, head.size() + size);
  asked_.pop_front();
  ++answered_;
  check(request, status, head, body, wrong);
  return true;
}

void SimClient::check(const Request& request, uint16_t status, const std::string& head, const std::string& body,
                      std::vector<std::string>& wrong) const {
  const auto complain = [&](const std::string& what) {
    wrong.push_back(what + ": " + request.text.substr(0, 100) + " got " + head.substr(0, 60) + " and " +
                    body.substr(0, 40));
  };
  if (field_of(head, "Date").size() != 29) complain("no date");
  if (request.closes && field_of(head, "Connection") != "close") complain("should close");
  // A disk that fails is told so, whatever was asked; the run counts these elsewhere.
  if (status == 500 && world_.file_errors() > 0) return;
  if (request.status == 206 && status == 404 && history_.was_absent(request.path, request.since)) return;
  if (request.status != 0 && status != request.status) return complain("expected " + std::to_string(request.status));
  if (status == 206) {
    if (body.size() != request.range_last - request.range_first + 1) complain("range of another size");
    return;
  }
  if (request.path.empty()) return;
  if (status == 404) {
    if (!history_.was_absent(request.path, request.since)) complain("404 for a file that was there");
    return;
  }
  if (status != 200) return complain("expected 200");
  if (!request.head && !history_.was(request.path, body, request.since)) complain("a body that the file never had");
}

}  // namespace penstock
