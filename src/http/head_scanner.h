// HeadScanner: the walk over the bytes of a request head. Private to RequestParser; on its stack, for one call.
//
// It goes from left to right and stops at the first offending byte. Every refusal is decided by the bytes up to and
// with the offender (limits: by the first byte too many), never by how many bytes the caller had at hand; so where the
// input was split cannot change the answer. Where one byte of look-ahead is needed (CR, then LF?) it waits on the CR.
//
// Scan (request_scan.h) finds the ends of elements. With STORE it fills `out` on its way, and has to begin at the
// beginning; without, it can begin wherever the last call ended.
#pragma once

#include "src/http/field_lookup.h"
#include "src/http/request_parser.h"
#include "src/http/request_scan.h"

#include <cstring>
#include <string_view>

namespace penstock {

// The element that a scanner stands in. A value, since RequestParser keeps it as a byte.
enum class HeadStage : uint8_t { EMPTY_LINE, METHOD, PATH, QUERY, VERSION, LINE_START, FIELD_NAME, FIELD_VALUE };

enum class HeadStep : uint8_t { GO_ON, NEED_MORE, BAD, END };

template <typename Scan, bool STORE>
struct HeadScanner {
  using Step = HeadStep;
  using enum HeadStage;

  const char* begin;
  const char* at;     // next byte to look at
  const char* token;  // start of the target's path or query
  const char* line;   // start of the current line
  const char* end;
  const ParseLimits& limits;
  RequestHead& out;
  uint32_t empty_lines;
  uint32_t field_lines;  // complete ones
  uint32_t field_lines_max;
  HeadStage stage;
  Reason error = Reason::NONE;

  Step scan() {
    if (stage < LINE_START) {
      const Step step = request_line();
      if (step != Step::GO_ON) return step;
    }
    Step step = Step::GO_ON;
    if constexpr (!STORE) step = rest_of_field_line();  // a STORE run begins at the beginning
    while (step == Step::GO_ON) step = field_line();
    return step;
  }

 private:
  Step bad(Reason reason) {
    error = reason;
    return Step::BAD;
  }

  Step need_more(HeadStage where) {
    stage = where;
    return Step::NEED_MORE;
  }

  // `at` stands on a byte that its element may not hold. `line_ended`: the line ended too early.
  [[gnu::noinline]] Step offence(HeadStage where, Reason line_ended, Reason otherwise) {
    if (*at == '\n') return bad(Reason::BARE_LF);
    if (*at == '\0') return bad(Reason::NUL_IN_HEAD);
    if (*at != '\r') return bad(otherwise);
    if (at + 1 == end) return need_more(where);
    return bad(at[1] == '\n' ? line_ended : Reason::BARE_CR);
  }

  Step request_line() {
    Step step = Step::GO_ON;
    switch (stage) {
      case EMPTY_LINE:
        step = skip_empty_lines();
        if (step != Step::GO_ON) return step;
        [[fallthrough]];
      case METHOD:
        step = method();
        if (step != Step::GO_ON) return step;
        [[fallthrough]];
      case PATH:
        step = path();
        if (step != Step::GO_ON) return step;
        [[fallthrough]];
      case QUERY:
        // In QUERY `token` is where the query began; a path that ended without one left it null.
        step = token != nullptr ? query() : Step::GO_ON;
        if (step != Step::GO_ON) return step;
        [[fallthrough]];
      default:
        return version();
    }
  }

  // RFC 9112 section 2.2: a server should ignore at least one empty line before the request line.
  Step skip_empty_lines() {
    while (at != end && (*at == '\r' || *at == '\n')) {
      if (*at == '\n') return bad(Reason::BARE_LF);
      if (at + 1 == end) return need_more(EMPTY_LINE);
      if (at[1] != '\n') return bad(Reason::BARE_CR);
      if (++empty_lines > LEADING_EMPTY_LINES_MAX) return bad(Reason::EMPTY_LINES);
      at += 2;
    }
    if (at == end) return need_more(EMPTY_LINE);
    line = at;
    return Step::GO_ON;
  }

  Step method() {
    if (at == line && end - at >= 4 && std::memcmp(at, "GET ", 4) == 0 && limits.verb_bytes >= 3) {
      if constexpr (STORE) {
        out.method = Method::GET;
        out.method_text = {at, 3};
      }
      at += 4;
    } else {
      at = Scan::token_end(begin, at, end);
      if (at - line > limits.verb_bytes) return bad(Reason::METHOD_LENGTH);
      if (at == end) return need_more(METHOD);
      if (*at != ' ') return offence(METHOD, Reason::REQUEST_LINE_INVALID, Reason::METHOD_INVALID);
      if (at == line) return bad(Reason::METHOD_INVALID);
      if constexpr (STORE) {
        out.method_text = {line, at};
        out.method = method_from_text(out.method_text);
      }
      ++at;
    }
    token = at;
    return Step::GO_ON;
  }

  Step path() {
    at = Scan::path_end(begin, at, end);
    if constexpr (STORE) out.target = out.path = {token, at};  // of a refused target, as much as was read
    if (at - token > limits.url_bytes) {
      if constexpr (STORE) out.target = out.path = {token, limits.url_bytes};
      return bad(Reason::URL_LENGTH);
    }
    if (at == end) return need_more(PATH);
    if (*at == '?') {
      if constexpr (STORE) out.has_query = true;
      token = ++at;
      return Step::GO_ON;
    }
    if (*at != ' ') return offence(PATH, Reason::REQUEST_LINE_INVALID, Reason::TARGET_INVALID);
    if (at == token) return bad(Reason::REQUEST_LINE_INVALID);
    token = nullptr;
    line = ++at;  // from here on the version is the line
    return Step::GO_ON;
  }

  Step query() {
    at = Scan::query_end(begin, at, end);
    if constexpr (STORE) {
      out.query = {token, at};
      out.target = {out.target.data(), at};
    }
    if (at - token > limits.query_bytes) {
      if constexpr (STORE) {
        out.query = {token, limits.query_bytes};
        out.target = {out.target.data(), token + limits.query_bytes};
      }
      return bad(Reason::QUERY_LENGTH);
    }
    if (at == end) return need_more(QUERY);
    if (*at != ' ') return offence(QUERY, Reason::REQUEST_LINE_INVALID, Reason::TARGET_INVALID);
    token = nullptr;
    line = ++at;
    return Step::GO_ON;
  }

  Step version() {
    if (end - line >= 10 && std::memcmp(line, "HTTP/1.1\r\n", 10) == 0) {
      if constexpr (STORE) out.version_minor = 1;
      at = line + 10;
      return Step::GO_ON;
    }
    return unusual_version();
  }

  [[gnu::noinline]] Step unusual_version() {
    constexpr std::string_view PATTERN = "HTTP/d.d";
    for (; at - line < static_cast<ptrdiff_t>(PATTERN.size()); ++at) {
      if (at == end) return need_more(VERSION);
      const char expected = PATTERN[static_cast<size_t>(at - line)];
      const bool fits = expected == 'd' ? *at >= '0' && *at <= '9' : *at == expected;
      if (!fits) return offence(VERSION, Reason::VERSION_INVALID, Reason::VERSION_INVALID);
    }
    if (at == end) return need_more(VERSION);
    if (*at != '\r') return offence(VERSION, Reason::VERSION_INVALID, Reason::VERSION_INVALID);
    if (at + 1 == end) return need_more(VERSION);
    if (at[1] != '\n') return bad(Reason::BARE_CR);
    if (line[5] != '1') {
      // "PRI * HTTP/2.0" is how an HTTP/2 client begins that did not ask first (RFC 9113 section 3.4).
      const std::string_view preface = "PRI * ";
      const bool is_preface = line[5] == '2' && static_cast<size_t>(line - begin) >= preface.size() &&
                              std::memcmp(line - preface.size(), preface.data(), preface.size()) == 0;
      return bad(is_preface ? Reason::HTTP2_PREFACE : Reason::VERSION_UNSUPPORTED);
    }
    if constexpr (STORE) out.version_minor = static_cast<uint8_t>(line[7] - '0');
    at += 2;
    return Step::GO_ON;
  }

  Step rest_of_field_line() {
    if (stage == FIELD_NAME) return field_name();
    if (stage == FIELD_VALUE) return field_value(nullptr);
    return Step::GO_ON;
  }

  Step field_line() {
    if (at == end) return need_more(LINE_START);
    const auto first = static_cast<unsigned char>(*at);
    if (first <= ' ') {
      if (first == '\r') {
        if (at + 1 == end) return need_more(LINE_START);
        if (at[1] != '\n') return bad(Reason::BARE_CR);
        at += 2;
        return Step::END;
      }
      if (first == ' ' || first == '\t') return bad(Reason::OBS_FOLD);
    }
    if (field_lines >= field_lines_max) return bad(Reason::FIELD_COUNT);
    line = at;
    return field_name();
  }

  Step field_name() {
    at = Scan::token_end(begin, at, end);
    if (at == end || *at != ':') return nameless();
    if (at == line) return bad(Reason::FIELD_NAME_EMPTY);
    const char* colon = at++;
    return field_value(colon);
  }

  // A name that goes on, or stops before its colon. (Of one that has its colon, field_value() checks the length.)
  [[gnu::noinline]] Step nameless() {
    if (at - line > limits.field_bytes) return bad(Reason::FIELD_LENGTH);
    if (at == end) return need_more(FIELD_NAME);
    const bool space = *at == ' ' || *at == '\t';
    return offence(FIELD_NAME, Reason::COLON_MISSING, space ? Reason::SPACE_BEFORE_COLON : Reason::FIELD_NAME_INVALID);
  }

  // `colon` is needed to STORE only, and a STORE run never begins in the middle of a line.
  Step field_value(const char* colon) {
    at = Scan::value_end(begin, at, end);
    if (at - line > limits.field_bytes) return bad(Reason::FIELD_LENGTH);
    if (end - at < 2 || std::memcmp(at, "\r\n", 2) != 0) {
      if (at == end) return need_more(FIELD_VALUE);
      return offence(FIELD_VALUE, Reason::NONE, Reason::FIELD_VALUE_INVALID);
    }
    if constexpr (STORE) store(colon);
    ++field_lines;
    at += 2;
    return Step::GO_ON;
  }

  void store(const char* colon) {
    const char* first = colon + 1;
    const char* last = at;
    // One space before the value and none behind it is what nearly everyone sends. Before `last` stands the colon at
    // the least, and at it the CR; so neither look leaves the line.
    if (*first == ' ') ++first;
    if (static_cast<unsigned char>(*first) <= ' ' || static_cast<unsigned char>(last[-1]) <= ' ') trim(first, last);
    HeaderField& field = out.lines[field_lines];
    field.name = {line, colon};
    field.value = {first, last};
    const unsigned known = known_field_number(field.name);
    if (known == NO_FIELD) return;
    const FieldSet bit = FieldSet{1} << known;
    if ((out.present & bit) != 0) {
      out.repeated |= bit;
    } else {
      out.present |= bit;
      out.first_line[known] = static_cast<uint8_t>(field_lines);
    }
  }

  [[gnu::noinline]] static void trim(const char*& first, const char*& last) {
    while (first != last && (*first == ' ' || *first == '\t')) ++first;
    while (last != first && (last[-1] == ' ' || last[-1] == '\t')) --last;
  }
};

}  // namespace penstock
