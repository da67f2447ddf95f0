#include "src/tls/tls_session.h"

#include "src/base/assert.h"

#include <algorithm>
#include <cstring>
#include <openssl/err.h>
#include <utility>

namespace penstock {
namespace {

// What OpenSSL asks a BIO that may encrypt; <openssl/bio.h> has the numbers, but names only those for the outside.
constexpr int SET_KTLS = 72;               // `number`: not 0 for what is sent; `pointer`: the offer
constexpr int SET_KTLS_CONTROL_TYPE = 74;  // `number`: the next write is a record of this type
constexpr unsigned char KEY_UPDATE = 24;   // RFC 8446 section 4

}  // namespace

struct TlsSession::Bio {
  static int read(BIO* bio, char* out, size_t size, size_t* got) {
    TlsSession& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (session.input_.empty()) {
      BIO_set_retry_read(bio);
      return 0;
    }
    *got = std::min(size, session.input_.size());
    std::memcpy(out, session.input_.data(), *got);
    session.input_.remove_prefix(*got);
    return 1;
  }
  static int write(BIO* bio, const char* bytes, size_t size, size_t* put) {
    TlsSession& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    *put = size;
    if (session.sealer_.active()) return session.seal({bytes, size}) ? 1 : 0;
    session.out_.append(bytes, size, session.pool_);
    return 1;
  }
  static long control(BIO* bio, int command, long number, void* pointer) {
    TlsSession& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    switch (command) {
      case BIO_CTRL_FLUSH:
        return 1;
      case SET_KTLS:
        return number != 0 && session.sealer_.begin(pointer) ? 1 : 0;
      case BIO_CTRL_GET_KTLS_SEND:
        return session.sealer_.active() ? 1 : 0;
      case SET_KTLS_CONTROL_TYPE:
        session.next_type_ = static_cast<uint8_t>(number);
        return 0;
      default:
        return 0;
    }
  }
  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static const BIO_METHOD* method() {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* const fresh = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "lent buffers");
      ASSERT(fresh != nullptr);
      BIO_meth_set_read_ex(fresh, read);
      BIO_meth_set_write_ex(fresh, write);
      BIO_meth_set_ctrl(fresh, control);
      BIO_meth_set_create(fresh, create);
      return fresh;
    }();
    return made;
  }
};

TlsSession::TlsSession(TlsContext& context, CipherPool& pool, CipherChain& out, int64_t wall_s)
    : context_(context), pool_(pool), out_(out), wall_s_(wall_s) {
  context.follow_offer();
  OpensslPointer<SSL> ssl(SSL_new(context.ssl_context()));
  OpensslPointer<BIO> bio(BIO_new(Bio::method()));
  if (ssl == nullptr || bio == nullptr) return;
  BIO_set_data(bio.get(), this);
  SSL_set_app_data(ssl.get(), this);
  BIO_up_ref(bio.get());
  SSL_set0_rbio(ssl.get(), bio.get());
  SSL_set0_wbio(ssl.get(), bio.release());
  SSL_set_accept_state(ssl.get());
  // The context is of this thread alone; what it says goes into the tickets that are sealed from now on.
  const long lifetime_s = context.live().ticket_lifetime_s.load(std::memory_order_relaxed);
  if (SSL_CTX_get_timeout(context.ssl_context()) != lifetime_s) {
    (void)SSL_CTX_set_timeout(context.ssl_context(), lifetime_s);
  }
  if (!context.tickets().any()) {  // a ticket that cannot be sealed would be sent as a broken one
    SSL_set_options(ssl.get(), SSL_OP_NO_TICKET);
    (void)SSL_set_num_tickets(ssl.get(), 0);
  }
  if (context.live().only_1_3.load(std::memory_order_relaxed)) SSL_set_min_proto_version(ssl.get(), TLS1_3_VERSION);
  ssl_ = std::move(ssl);
}

TlsSession::~TlsSession() = default;

TlsSession::Step TlsSession::handshake() {
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_.get());
  if (done == 1) {
    if (client_rules_ != 0) look_at_client();
    return Step::DONE;
  }
  switch (SSL_get_error(ssl_.get(), done)) {
    case SSL_ERROR_WANT_READ:
      return Step::MORE;
    case SSL_ERROR_WANT_ASYNC:
      return Step::KEY;
    case SSL_ERROR_WANT_ASYNC_JOB:
      reason_ = Reason::TLS_KEY_BUSY;
      return Step::FAILED;
    case SSL_ERROR_ZERO_RETURN:  // close_notify, which user_canceled may go before: it left, as politely as one can
      reason_ = Reason::TLS_LEFT;
      return Step::FAILED;
    default:
      return failed(true);
  }
}

TlsSession::Step TlsSession::read(std::span<char> out, size_t& got) {
  got = 0;
  ERR_clear_error();
  while (got < out.size()) {
    size_t now = 0;
    const int done = SSL_read_ex(ssl_.get(), out.data() + got, out.size() - got, &now);
    if (done == 1) {
      got += now;
      continue;
    }
    switch (SSL_get_error(ssl_.get(), done)) {
      case SSL_ERROR_WANT_READ:
        return reason_ == Reason::NONE ? Step::MORE : Step::FAILED;  // a callback saw what is not allowed
      case SSL_ERROR_ZERO_RETURN:
        return Step::END;
      default:
        return failed(false);
    }
  }
  return Step::DONE;
}

// What OpenSSL wrote in plain.
bool TlsSession::seal(std::span<const char> plain) {
  const uint8_t type = std::exchange(next_type_, RecordSealer::APPLICATION_DATA);
  if (handed_over_) {
    char* const record = out_.grow_alone(1 + plain.size(), pool_);
    record[0] = static_cast<char>(type);
    std::copy(plain.begin(), plain.end(), record + 1);
  } else if (!sealer_.seal(type, plain, out_, pool_)) {
    return false;
  }
  const bool updates = type == RecordSealer::HANDSHAKE && !plain.empty() && plain[0] == KEY_UPDATE;
  return !updates || sealer_.update_key();
}

bool TlsSession::write(std::span<const char> bytes) {
  // Not past OpenSSL while it owes the peer a new key first (RFC 8446 section 4.6.3).
  if (sealer_.active() && SSL_get_key_update_type(ssl_.get()) == SSL_KEY_UPDATE_NONE) {
    if (sealer_.seal(RecordSealer::APPLICATION_DATA, bytes, out_, pool_)) return true;
    reason_ = Reason::TLS_RECORD;
    return false;
  }
  size_t put = 0;
  ERR_clear_error();
  // Our BIO takes everything, so a write is whole or the session is broken.
  if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &put) == 1 && put == bytes.size()) return true;
  (void)failed(false);
  return false;
}

bool TlsSession::make_offer(RecordSealer::Offer& offer) const {
  if (!sealer_.active()) return false;
  sealer_.make_offer(offer);
  return true;
}

void TlsSession::hand_over() {
  handed_over_ = true;
  sealer_.hand_over();
}

bool TlsSession::settle_key_update() {
  if (SSL_get_key_update_type(ssl_.get()) == SSL_KEY_UPDATE_NONE) return true;
  ERR_clear_error();
  // By itself OpenSSL would wait until it writes data. The same answer, at once.
  if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(ssl_.get()) == 1) return true;
  (void)failed(false);
  return false;
}

bool TlsSession::is_key_update(const CipherBlock& record) {
  return record.used > 1 && record.data[0] == static_cast<char>(RecordSealer::HANDSHAKE) &&
         record.data[1] == KEY_UPDATE;
}

void TlsSession::say_goodbye() {
  ERR_clear_error();
  if (SSL_in_init(ssl_.get()) == 0) (void)SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

// What went wrong, in our words. A callback may have said it already.
TlsSession::Step TlsSession::failed(bool in_handshake) {
  const unsigned long error = ERR_peek_error();
  ERR_clear_error();
  if (reason_ != Reason::NONE) return Step::FAILED;
  const int why = ERR_GET_REASON(error);
  const bool by_alert = why > SSL_AD_REASON_OFFSET && why < SSL_AD_REASON_OFFSET + 256;  // of the peer's, a fatal one
  if (!in_handshake) {
    reason_ = by_alert ? Reason::TLS_ALERT_LATER : Reason::TLS_RECORD;
    return Step::FAILED;
  }
  switch (why) {
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_INAPPROPRIATE_FALLBACK:
      reason_ = Reason::TLS_NOTHING_COMMON;
      break;
    default:
      reason_ = by_alert ? Reason::TLS_ALERT : Reason::TLS_MALFORMED;
  }
  return Step::FAILED;
}

std::string_view TlsSession::protocol() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

}  // namespace penstock
