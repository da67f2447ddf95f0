// The memory between a server's thread and keyd, byte by byte: one segment for each channel, KEY_SLOTS slots in each.
//
// Made by the supervisor (create_key_channel), mapped by both, given anew to a keyd that replaces a dead one. The
// server owns the slots: it fills a request, names it by a serial that is new to the slot, and sets the slot's bit.
// keyd copies the request once, answers into the same slot, stores the serial that it answered, and sets the slot's bit
// on the other side. Everything that is not answered can be seen in the slots (asked != answered), so what was under
// way when a keyd died is signed by the next one and the server notices nothing.
//
// Ordering: request, then asked (release) / asked (acquire), then the copy. Reply, then answered (release) / answered
// (acquire), then the reply. The bits only say where to look; both sides check the serials. keyd believes nothing here:
// what a hostile server writes into keyd's half harms that server alone.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace penstock {

inline constexpr uint32_t KEY_SLOTS = 64;       // signatures under way of one channel; more wait in the server
inline constexpr size_t KEY_CONTENT_MAX = 224;  // TLS 1.2 with P-521 signs 201 bytes, TLS 1.3 at most 146
inline constexpr size_t SIGNATURE_MAX = 1024;   // RSA with 8,192 bits
inline constexpr size_t KEY_DETAIL_MAX = 512;   // a sentence for the operator, in place of a signature

// Which private key: the file that the configuration names, and the public key that it must belong to. So a file that
// was replaced is read again when a certificate asks for what it holds now, and no signature is made by another key.
struct KeyName {
  uint64_t file = 0;                           // key_file_id()
  std::array<unsigned char, 32> public_key{};  // SHA-256 of the SubjectPublicKeyInfo
  bool operator==(const KeyName&) const = default;
};
static_assert(sizeof(KeyName) == 40);

enum class KeyOrder : uint8_t {
  SIGN = 1,
  PROBE = 2,  // is the key there, and the right one? Nothing is signed
};

enum class KeyStatus : uint8_t {
#define PENSTOCK_KEY_STATUS(name, number, sentence) name = number,
#include "src/tls/key_status.def"
#undef PENSTOCK_KEY_STATUS
};

struct KeyRequest {
  KeyName key;
  uint16_t scheme = 0;  // TLS SignatureScheme (RFC 8446 section 4.2.3); 0 for PROBE
  KeyOrder order = KeyOrder::SIGN;
  uint8_t content_bytes = 0;                    // 0 for PROBE
  uint32_t reserved = 0;                        // zero
  unsigned char content[KEY_CONTENT_MAX] = {};  // what is signed, as it is before hashing
};
static_assert(sizeof(KeyRequest) == 272);

struct KeyReply {
  KeyStatus status = KeyStatus::OK;
  uint8_t reserved = 0;
  uint16_t bytes = 0;  // of the signature, or of a sentence that says more where status is not OK
  unsigned char data[SIGNATURE_MAX] = {};
};

struct KeySlot {
  alignas(64) std::atomic<uint32_t> asked;     // server
  KeyRequest request;                          // server
  alignas(64) std::atomic<uint32_t> answered;  // keyd
  KeyReply reply;                              // keyd
};

struct KeySegment {
  static constexpr uint64_t MAGIC = 0x31305945'4b534e50;  // "PNSKEY01"
  alignas(64) uint64_t magic;
  alignas(64) std::atomic<uint64_t> requested;  // slots with something new for keyd; it takes them all at once
  alignas(64) std::atomic<uint64_t> replied;    // slots with something new for the server
  alignas(64) std::atomic<uint32_t> sleeping;   // keyd waits on `bell`, or is about to
  std::atomic<uint32_t> bell;                   // a futex
  KeySlot slots[KEY_SLOTS];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

}  // namespace penstock
