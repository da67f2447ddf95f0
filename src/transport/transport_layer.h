// TransportLayer: what a Transport over another Transport hands down as it is: listeners, wake sources, pauses, and
// what the kernel below holds of a connection.
#pragma once

#include "src/transport/transport.h"

#include <span>

namespace penstock {

class TransportLayer : public Transport {
 public:
  // `below` outlives it.
  explicit TransportLayer(Transport& below) : below_(below) {}

  [[nodiscard]] const char* name() const override { return below_.name(); }
  [[nodiscard]] bool sees_work() const override { return below_.sees_work(); }
  [[nodiscard]] Status add_listener(int fd, uint32_t id) override { return below_.add_listener(fd, id); }
  void remove_listener(uint32_t id) override { below_.remove_listener(id); }
  void pause_accept(bool paused) override { below_.pause_accept(paused); }
  [[nodiscard]] bool has_unsettled() const override { return below_.has_unsettled(); }
  void set_proxies(std::span<const PeerRange> proxies, Duration patience) override {
    below_.set_proxies(proxies, patience);
  }
  void no_hurry(Handle conn) override { below_.no_hurry(conn); }
  [[nodiscard]] uint64_t bytes_held(Handle conn) override { return below_.bytes_held(conn); }
  void set_exact_local(bool exact) override { below_.set_exact_local(exact); }
  void set_zerocopy_min(uint32_t bytes) override { below_.set_zerocopy_min(bytes); }
  [[nodiscard]] Status add_wake_source(int fd, uint32_t id) override { return below_.add_wake_source(fd, id); }

 protected:
  Transport& below_;
};

}  // namespace penstock
