#include "src/http/accept_encoding.h"

#include "src/base/bytes.h"
#include "src/http/syntax.h"

#include <optional>

namespace penstock {
namespace {

constexpr std::array<std::string_view, CODING_COUNT> CODING_NAMES = {"identity", "gzip", "br", "zstd"};

// At equal weight the first wins.
constexpr std::array<Coding, CODING_COUNT> PREFERENCE = {Coding::BR, Coding::ZSTD, Coding::GZIP, Coding::IDENTITY};

constexpr uint16_t WEIGHT_MAX = 1000;
constexpr uint16_t LAST_RESORT = 1;

std::optional<Coding> coding_from_name(std::string_view name) {
  for (size_t i = 0; i < CODING_COUNT; ++i) {
    if (iequals(name, CODING_NAMES[i])) return static_cast<Coding>(i);
  }
  if (iequals(name, "x-gzip")) return Coding::GZIP;  // RFC 9110 section 8.4.1.3
  return std::nullopt;
}

// qvalue in thousandths (RFC 9110 section 12.4.2): "0" ["." 0*3DIGIT] or "1" ["." 0*3("0")].
std::optional<uint16_t> parse_qvalue(std::string_view text) {
  if (text.empty() || (text[0] != '0' && text[0] != '1') || text.size() > 5) return std::nullopt;
  if (text.size() > 1 && text[1] != '.') return std::nullopt;
  unsigned value = static_cast<unsigned>(text[0] - '0') * WEIGHT_MAX;
  unsigned place = 100;
  for (size_t i = 2; i < text.size(); ++i, place /= 10) {
    if (!is_digit(text[i])) return std::nullopt;
    value += static_cast<unsigned>(text[i] - '0') * place;
  }
  if (value > WEIGHT_MAX) return std::nullopt;
  return static_cast<uint16_t>(value);
}

struct Element {
  std::string_view name;
  uint16_t weight;
};

// codings [ OWS ";" OWS "q=" qvalue ]; nothing if it is malformed.
std::optional<Element> parse_element(std::string_view text) {
  const size_t semicolon = text.find(';');
  const std::string_view name = trim_ows(text.substr(0, semicolon));
  if (!is_http_token(name)) return std::nullopt;
  if (semicolon == std::string_view::npos) return Element{name, WEIGHT_MAX};
  const std::string_view parameter = trim_ows(text.substr(semicolon + 1));
  if (parameter.size() < 2 || ascii_lower(parameter[0]) != 'q' || parameter[1] != '=') return std::nullopt;
  const auto weight = parse_qvalue(parameter.substr(2));
  if (!weight) return std::nullopt;
  return Element{name, *weight};
}

// Weights that were named, one list after the other; the rest is settled at the end.
struct Gatherer {
  std::array<std::optional<uint16_t>, CODING_COUNT> weight;
  std::optional<uint16_t> others;  // of "*"

  void add(std::string_view list) {
    while (!list.empty()) {
      const auto element = parse_element(next_element(list));
      if (!element) continue;
      if (element->name == "*") {
        if (!others) others = element->weight;
        continue;
      }
      const auto coding = coding_from_name(element->name);
      if (!coding) continue;
      auto& slot = weight[static_cast<size_t>(*coding)];
      if (!slot) slot = element->weight;
    }
  }

  [[nodiscard]] AcceptedCodings settle() const {
    AcceptedCodings accepted;
    for (size_t i = 0; i < CODING_COUNT; ++i) accepted.weight[i] = weight[i].value_or(others.value_or(0));
    constexpr auto IDENTITY = static_cast<size_t>(Coding::IDENTITY);
    accepted.identity_named = weight[IDENTITY].has_value() || others.has_value();
    if (!accepted.identity_named) accepted.weight[IDENTITY] = LAST_RESORT;
    return accepted;
  }
};

}  // namespace

std::string_view coding_name(Coding coding) { return CODING_NAMES[static_cast<size_t>(coding)]; }

AcceptedCodings parse_accept_encoding(std::string_view value) {
  Gatherer gatherer;
  gatherer.add(value);
  return gatherer.settle();
}

AcceptedCodings parse_accept_encoding(const RequestHead& head) {
  Gatherer gatherer;
  head.for_each(Field::ACCEPT_ENCODING, [&](std::string_view list) { gatherer.add(list); });
  return gatherer.settle();
}

CodingChoice choose_coding(const AcceptedCodings& accepted, uint8_t available) {
  Coding best = Coding::IDENTITY;
  uint16_t best_weight = 0;
  for (const Coding coding : PREFERENCE) {
    const bool there = coding == Coding::IDENTITY || (available & coding_bit(coding)) != 0;
    const uint16_t weight = accepted.weight[static_cast<size_t>(coding)];
    if (!there || weight <= best_weight) continue;
    best = coding;
    best_weight = weight;
  }
  return {best_weight != 0, best};
}

CodingChoice choose_coding(uint8_t accept_mask, uint8_t available) {
  const auto both = static_cast<uint8_t>(accept_mask & available);
  for (const Coding coding : PREFERENCE) {
    if ((both & coding_bit(coding)) != 0) return {true, coding};
  }
  return {true, Coding::IDENTITY};
}

CodingChoice choose_coding(const RequestHead& head, uint8_t available) {
  return head.accept_simple ? choose_coding(head.accept_mask, available)
                            : choose_coding(parse_accept_encoding(head), available);
}

AcceptMask accept_mask_of(std::string_view value) {
  // What Chrome and Firefox, Safari, older browsers and most tools send, by one comparison each.
  if (value == "gzip, deflate, br, zstd") return {true, ACCEPT_GZIP | ACCEPT_BR | ACCEPT_ZSTD};
  if (value == "gzip, deflate, br") return {true, ACCEPT_GZIP | ACCEPT_BR};
  if (value == "gzip, deflate" || value == "gzip") return {true, ACCEPT_GZIP};
  uint8_t mask = 0;
  while (!value.empty()) {
    const std::string_view name = next_element(value);
    if (name.empty()) continue;
    if (!is_http_token(name) || name == "*") return {false, 0};
    const auto coding = coding_from_name(name);
    if (coding == Coding::IDENTITY) return {false, 0};
    if (coding) mask |= coding_bit(*coding);
  }
  return {true, mask};
}

}  // namespace penstock
