// FakeKernelTls: a transport whose kernel has kTLS, on top of any other. It takes the key of a connection and truly
// seals with it (OpenSSL's EVP, from the struct that the kernel would get), so a real TLS client at the other end shows
// whether key, number and order are right.
//
// Like the kernel it reads parts only as fast as the socket takes them, and counts plaintext. What the real one would
// lose or refuse is written down in violations().
#pragma once

#include "src/base/prng.h"
#include "src/transport/transport_layer.h"

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace penstock::test {

struct FakeKernelOptions {
  uint64_t seed = 1;
  int refusal = 0;               // the errno of every first key
  bool changes_keys = true;      // as Linux does from 6.14 on; before: EBUSY
  uint64_t chunk_max = 100'000;  // of plaintext that it takes at a time
};

class FakeKernelTls final : public TransportLayer {
 public:
  FakeKernelTls(Transport& below, const FakeKernelOptions& options)
      : TransportLayer(below), options_(options), prng_(options.seed) {}

  [[nodiscard]] size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override;
  [[nodiscard]] int take_key(Handle conn, std::span<const char> key) override;
  void send_record(Handle conn, uint8_t type, std::span<const char> bytes) override;
  void send(Handle conn, std::span<const SendPart> parts, bool last) override;
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override;
  bool close(Handle conn) override { return end(conn, false); }
  bool reset(Handle conn) override { return end(conn, true); }
  void set_layers(uint32_t id, const ListenerLayers& layers) override { below_.set_layers(id, layers); }
  [[nodiscard]] bool is_open(Handle conn) const override { return below_.is_open(conn); }
  [[nodiscard]] uint32_t connection_count() const override { return below_.connection_count(); }
  void set_context(Handle conn, void* context) override { below_.set_context(conn, context); }
  void release(uint32_t buffer) override { below_.release(buffer); }
  void set_receiving(Handle conn, bool on) override { below_.set_receiving(conn, on); }
  void shutdown_send(Handle conn) override { below_.shutdown_send(conn); }
  [[nodiscard]] PeerAddress local_address(Handle conn) const override { return below_.local_address(conn); }
  [[nodiscard]] const TransportCounters& counters() const override {
    counters_ = below_.counters();
    counters_.bytes_from_files += bytes_from_files;
    return counters_;
  }

  // What it was asked.
  FakeKernelOptions& options() { return options_; }
  uint32_t offers = 0;            // first keys, refused ones too
  uint32_t next_keys = 0;         // of connections that had one
  std::vector<uint8_t> types;     // of send_record()
  uint64_t bytes_from_files = 0;  // sealed
  uint64_t bytes_from_memory = 0;
  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }

 private:
  struct Conn {
    std::string key;  // empty: none was taken
    uint64_t sequence = 0;
    bool sending = false;  // of ours or of the caller's
    uint8_t type = 0;
    std::vector<SendPart> parts;
    uint64_t chunk = 0;   // of plaintext, with the transport below
    bool broken = false;  // a file was shorter than its part said
    uint64_t plain = 0;
    std::string wire;
  };
  [[nodiscard]] static uint64_t number(Handle conn) { return uint64_t{conn.index} << 32 | conn.generation; }
  bool end(Handle handle, bool with_reset);
  void pump(Handle handle, Conn& conn);
  [[nodiscard]] std::string take_plain(Handle handle, Conn& conn, uint64_t bytes);

  FakeKernelOptions options_;
  Prng prng_;
  std::map<uint64_t, Conn> conns_;  // with a key, or something on its way
  std::vector<Handle> broken_;      // to be told
  std::vector<std::string> violations_;
  mutable TransportCounters counters_;
};

// A record as the kernel makes it: with the key of `info`, at the place that it says, which moves on.
[[nodiscard]] std::string seal_like_kernel(std::string& info, uint8_t type, std::string_view plain);

}  // namespace penstock::test
