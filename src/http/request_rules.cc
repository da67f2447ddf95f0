// Order matters: a request with several faults is refused for the first of them in the order target,
// Host, framing, Expect; so each refusal has one reason, and tests can name it.

#include "src/http/request_rules.h"

#include "src/base/bytes.h"
#include "src/http/accept_encoding.h"
#include "src/http/host.h"
#include "src/http/syntax.h"

#include <limits>

namespace penstock {
namespace {

constexpr FieldSet CONDITIONAL_FIELDS = field_bit(Field::IF_MATCH) | field_bit(Field::IF_NONE_MATCH) |
                                        field_bit(Field::IF_MODIFIED_SINCE) | field_bit(Field::IF_UNMODIFIED_SINCE);

// Fields that mean something to a hot hit, but only on a single line.
constexpr FieldSet SINGLE_IF_PLAIN =
    CONDITIONAL_FIELDS | field_bit(Field::IF_RANGE) | field_bit(Field::RANGE) | field_bit(Field::ACCEPT_ENCODING);

constexpr FieldSet FRAMING_FIELDS = field_bit(Field::CONTENT_LENGTH) | field_bit(Field::TRANSFER_ENCODING);

bool istarts_with(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && iequals(text.substr(0, prefix.size()), prefix);
}

// RFC 9112 section 3.2.2: scheme "://" authority [path]. `path` is the target up to its query.
Reason absolute_form(RequestHead& head) {
  size_t scheme_bytes = 0;
  if (istarts_with(head.target, "http://")) {
    scheme_bytes = 7;
  } else if (istarts_with(head.target, "https://")) {
    scheme_bytes = 8;
    head.https = true;
  } else {
    return Reason::TARGET_FORM_INVALID;
  }
  head.form = TargetForm::ABSOLUTE;
  const std::string_view rest = head.path.substr(scheme_bytes);
  const size_t slash = rest.find('/');
  head.authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) {
    head.path = rest.substr(slash);
  } else {
    // Section 3.2.4: an OPTIONS for a bare authority speaks of the server as a whole.
    head.path = head.method == Method::OPTIONS && !head.has_query ? "*" : "/";
  }
  return host_is_valid(head.authority) ? Reason::NONE : Reason::HOST_INVALID;
}

[[gnu::noinline]] Reason unusual_form(RequestHead& head) {
  if (head.method == Method::CONNECT) {
    head.form = TargetForm::AUTHORITY;
    head.authority = head.target;
    head.path = {};
    // Section 3.2.3: host and port, both.
    const bool has_port = !head.target.empty() && is_digit(head.target.back());
    const bool has_colon = head.target.find(':') != std::string_view::npos;
    return has_port && has_colon && host_is_valid(head.target) ? Reason::NONE : Reason::TARGET_FORM_INVALID;
  }
  if (head.target == "*") {
    head.form = TargetForm::ASTERISK;
    return head.method == Method::OPTIONS ? Reason::NONE : Reason::TARGET_FORM_INVALID;
  }
  return absolute_form(head);
}

Reason check_target(RequestHead& head) {
  head.https = false;
  head.authority = {};
  if (head.target.front() == '/' && head.method != Method::CONNECT) [[likely]] {
    head.form = TargetForm::ORIGIN;
    return Reason::NONE;
  }
  return unusual_form(head);
}

// RFC 9112 section 3.2.
Reason check_host(RequestHead& head) {
  if (!head.has(Field::HOST)) {
    head.host_header = {};
    return head.version_minor == 0 ? Reason::NONE : Reason::HOST_MISSING;
  }
  if (head.has_repeated(Field::HOST)) return Reason::HOST_REPEATED;
  head.host_header = head.get(Field::HOST);
  if (!host_is_valid(head.host_header)) return Reason::HOST_INVALID;
  if (head.form == TargetForm::ORIGIN || head.form == TargetForm::ASTERISK) head.authority = head.host_header;
  return Reason::NONE;
}

// RFC 9112 section 6.1; the only coding taken is chunked, once and alone.
Reason check_transfer_encoding(RequestHead& head) {
  if (head.version_minor == 0) return Reason::TRANSFER_ENCODING_IN_1_0;
  if (head.has(Field::CONTENT_LENGTH)) return Reason::LENGTH_AND_CODING;
  if (head.has_repeated(Field::TRANSFER_ENCODING)) return Reason::TRANSFER_ENCODING_REPEATED;
  std::string_view list = head.get(Field::TRANSFER_ENCODING);
  if (iequals(list, "chunked")) {
    head.body = BodyKind::CHUNKED;
    return Reason::NONE;
  }
  bool chunked_seen = false;
  bool element_empty = false;
  bool more = true;
  while (more) {
    more = list.find(',') != std::string_view::npos;
    const std::string_view coding = next_element(list);
    if (chunked_seen) return Reason::CHUNKED_NOT_LAST;
    if (coding.empty()) element_empty = true;
    if (iequals(coding, "chunked")) chunked_seen = true;
  }
  return element_empty ? Reason::TRANSFER_ENCODING_EMPTY : Reason::CODING_UNKNOWN;
}

Reason check_content_length(RequestHead& head) {
  if (head.has_repeated(Field::CONTENT_LENGTH)) return Reason::CONTENT_LENGTH_REPEATED;
  const auto length = parse_decimal(head.get(Field::CONTENT_LENGTH));
  if (!length || *length > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Reason::CONTENT_LENGTH_INVALID;
  }
  head.content_length = *length;
  if (*length != 0) head.body = BodyKind::LENGTH;
  return Reason::NONE;
}

// Fills keep_alive (RFC 9112 section 9.3). False if Connection names anything but keep-alive and close.
bool read_connection(RequestHead& head) {
  head.keep_alive = head.version_minor != 0;
  if (!head.has(Field::CONNECTION)) return true;
  if (!head.has_repeated(Field::CONNECTION)) {  // what clients do send, by one comparison
    const std::string_view value = head.get(Field::CONNECTION);
    if (value == "keep-alive" || value == "Keep-Alive" || value == "close") {
      head.keep_alive = value != "close";
      return true;
    }
  }
  bool close = false;
  bool only_known = true;
  head.for_each(Field::CONNECTION, [&](std::string_view list) {
    while (!list.empty()) {
      const std::string_view option = next_element(list);
      if (iequals(option, "keep-alive")) {
        head.keep_alive = true;
      } else if (iequals(option, "close")) {
        close = true;
      } else if (!option.empty()) {
        only_known = false;
      }
    }
  });
  if (close) head.keep_alive = false;
  return only_known;
}

// RFC 9110 section 10.1.1; HTTP/1.0 knows no expectations.
Reason check_expect(RequestHead& head) {
  if (head.version_minor == 0) return Reason::NONE;
  bool known = true;
  head.for_each(Field::EXPECT, [&](std::string_view value) { known = known && iequals(value, "100-continue"); });
  if (!known) return Reason::EXPECTATION_FAILED;
  head.expect_continue = true;
  return Reason::NONE;
}

void read_accept_encoding(RequestHead& head) {
  head.accept_simple = true;
  head.accept_mask = 0;
  if (!head.has(Field::ACCEPT_ENCODING)) return;
  AcceptMask accept = accept_mask_of(head.get(Field::ACCEPT_ENCODING));
  if (head.has_repeated(Field::ACCEPT_ENCODING)) accept = {false, 0};
  head.accept_simple = accept.simple;
  head.accept_mask = accept.mask;
}

}  // namespace

Reason complete_request_head(RequestHead& head) {
  Reason reason = check_target(head);
  if (reason != Reason::NONE) return reason;
  reason = check_host(head);
  if (reason != Reason::NONE) return reason;

  head.body = BodyKind::NONE;
  head.content_length = 0;
  if ((head.present & FRAMING_FIELDS) != 0) {
    reason = head.has(Field::TRANSFER_ENCODING) ? check_transfer_encoding(head) : check_content_length(head);
    if (reason != Reason::NONE) return reason;
  }
  head.expect_continue = false;
  if (head.has(Field::EXPECT)) {
    reason = check_expect(head);
    if (reason != Reason::NONE) return reason;
  }

  const bool connection_ordinary = read_connection(head);
  read_accept_encoding(head);
  head.has_conditional = (head.present & CONDITIONAL_FIELDS) != 0;
  head.has_range = head.has(Field::RANGE);
  head.plain = (head.method == Method::GET || head.method == Method::HEAD) && head.version_minor == 1 &&
               head.form == TargetForm::ORIGIN && (head.present & NOT_PLAIN_FIELDS) == 0 &&
               (head.repeated & SINGLE_IF_PLAIN) == 0 && connection_ordinary && head.accept_simple;
  return Reason::NONE;
}

}  // namespace penstock
