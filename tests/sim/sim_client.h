// SimClient: one client of the simulator, its script of requests, and the reference model that knows the
// one right answer to each.
//
// The model is small because the world is: files tell in their bytes what they are ("PATH VERSION ..."), so an
// answer can be held to its request without knowing when it was made: its body must be some version that the
// file had between the moment the request could first be seen and the moment its answer came.
#pragma once

#include "src/base/prng.h"
#include "tests/sim/sim_world.h"

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace penstock {

// Every version that a file ever had, and when it stopped being current.
class SimHistory {
 public:
  void put(const std::string& path, const std::string& bytes, MonoTime now);
  void remove(const std::string& path, MonoTime now);
  // Whether `bytes` were the file at some moment of [since, now].
  [[nodiscard]] bool was(const std::string& path, const std::string& bytes, MonoTime since) const;
  // Whether there was no such file at some moment of [since, now].
  [[nodiscard]] bool was_absent(const std::string& path, MonoTime since) const;

 private:
  struct Version {
    std::string bytes;
    bool absent = false;
    MonoTime until = MonoTime::never();
  };
  std::map<std::string, std::vector<Version>> versions_;
};

class SimClient {
 public:
  SimClient(SimWorld& world, SimHistory& history, uint64_t seed);

  // Acts: connects, sends a piece, reads a piece. Appends to `wrong` what breaks the rules.
  void act(std::vector<std::string>& wrong);
  // No new requests and no more ill behaviour: finish what was begun.
  void wind_up() { winding_up_ = true; }
  [[nodiscard]] bool done() const;
  [[nodiscard]] uint64_t answered() const { return answered_; }
  // What it still waits for, for the message of a test that does not end.
  [[nodiscard]] std::string state() const;

 private:
  struct Request {
    std::string text;
    std::string path;     // of a file that should be served whole; else empty
    uint16_t status = 0;  // the one right status; 0: 200 or 404 as the file's history says
    bool head = false;
    bool closes = false;                       // the server closes behind the answer
    uint64_t range_first = 0, range_last = 0;  // of a 206
    MonoTime since;
  };

  void connect();
  [[nodiscard]] Request make_request();
  void add_get(Request& request, const std::string& path, const std::string& fields) const;
  void read_answers(std::vector<std::string>& wrong);
  // One whole answer from the front of in_, checked; false: more bytes are needed.
  [[nodiscard]] bool take_answer(bool at_end, std::vector<std::string>& wrong);
  void check(const Request& request, uint16_t status, const std::string& head, const std::string& body,
             std::vector<std::string>& wrong) const;
  void hang_up(std::vector<std::string>& wrong);

  SimWorld& world_;
  SimHistory& history_;
  Prng prng_;
  uint32_t reactor_ = 0;
  bool connected_ = false;
  bool winding_up_ = false;
  bool half_closed_ = false;
  bool said_last_ = false;  // after a request that makes the server close, nothing more is asked
  std::unique_ptr<SimWire> wire_;
  uint32_t requests_left_ = 0;
  std::string out_;  // bytes not yet sent
  std::string in_;   // bytes not yet understood
  std::deque<Request> asked_;
  uint64_t answered_ = 0;
};

}  // namespace penstock
