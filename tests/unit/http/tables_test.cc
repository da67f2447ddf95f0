// The .def tables: what other parts rely on without looking.

#include "src/http/field.h"
#include "src/http/method.h"
#include "src/http/status.h"

#include <cctype>
#include <gtest/gtest.h>
#include <set>
#include <string>

namespace penstock {
namespace {

// FEATURES RD5.
TEST(Reasons, tell_at_least_forty_refusals_apart_each_by_its_own_number) {
  std::set<std::pair<int, int>> numbers;
  std::set<std::string_view> names;
  size_t refusals = 0;
  for (const ReasonInfo& reason : REASONS) {
    EXPECT_TRUE(numbers.emplace(reason.status, reason.sub_status).second) << reason.name;
    EXPECT_TRUE(names.insert(reason.name).second) << reason.name;
    EXPECT_FALSE(reason.phrase.empty() || reason.text.empty()) << reason.name;
    EXPECT_EQ(reason.phrase.find(' '), std::string_view::npos) << "a log field: " << reason.name;
    EXPECT_TRUE(reason.status == 0 || !status_phrase(reason.status).empty()) << reason.name;
    refusals += reason.status >= 400;
  }
  EXPECT_GE(refusals, 40U);
}

TEST(Reasons, are_found_by_their_enumerator) {
  EXPECT_EQ(reason_info(Reason::NONE).status, 0);
  EXPECT_EQ(reason_info(Reason::BARE_LF).name, "BARE_LF");
  EXPECT_EQ(reason_info(Reason::BARE_LF).phrase, "Invalid_CR/LF");
  EXPECT_EQ(reason_status(Reason::DOUBLE_ESCAPE), 404);
  EXPECT_EQ(reason_info(Reason::DOUBLE_ESCAPE).sub_status, 11);
  EXPECT_EQ(reason_info(Reason::TIMER_DRAIN).name, "TIMER_DRAIN");
}

// FEATURES LG3: every phrase of http.sys's error log (httperr) is one of ours, or stands here with why it is not.
TEST(Reasons, have_every_phrase_of_the_error_log_of_http_sys) {
  constexpr std::string_view HTTPERR[] = {"AppOffline",
                                          "AppPoolTimer",
                                          "AppShutdown",
                                          "BadRequest",
                                          "Connection_Abandoned_By_AppPool",
                                          "Connection_Dropped",
                                          "ConnLimit",
                                          "Disabled",
                                          "EntityTooLarge",
                                          "FieldLength",
                                          "Forbidden",
                                          "Header",
                                          "Hostname",
                                          "Internal",
                                          "Invalid_CR/LF",
                                          "LengthRequired",
                                          "N/A",
                                          "N/I",
                                          "Number",
                                          "Precondition",
                                          "QueueFull",
                                          "RequestLength",
                                          "Timer_AppPool",
                                          "Timer_ConnectionIdle",
                                          "Timer_EntityBody",
                                          "Timer_HeaderWait",
                                          "Timer_MinBytesPerSecond",
                                          "Timer_Response",
                                          "URL",
                                          "URL_Length",
                                          "Verb",
                                          "Version_N/S"};
  constexpr std::string_view RESERVED = "Timer_Response";  // http.sys has it for later and writes it never
  std::set<std::string_view> ours;
  for (const ReasonInfo& reason : REASONS) {
    if (reason.status == 0 || reason.status >= 400) ours.insert(reason.phrase);
  }
  for (const std::string_view phrase : HTTPERR) EXPECT_EQ(ours.contains(phrase), phrase != RESERVED) << phrase;
}

TEST(Statuses, know_which_have_no_body) {
  for (const int status : {100, 101, 204, 304}) EXPECT_TRUE(status_is_bodiless(static_cast<uint16_t>(status)));
  for (const int status : {200, 206, 301, 400, 503}) EXPECT_FALSE(status_is_bodiless(static_cast<uint16_t>(status)));
}

TEST(Methods, are_case_sensitive) {
  EXPECT_EQ(method_from_text("GET"), Method::GET);
  EXPECT_EQ(method_from_text("CONNECT"), Method::CONNECT);
  EXPECT_EQ(method_from_text("get"), Method::OTHER);
  EXPECT_EQ(method_from_text("OTHER"), Method::OTHER);
  EXPECT_EQ(method_from_text(""), Method::OTHER);
  for (int i = 0; i < static_cast<int>(Method::OTHER); ++i) {
    const auto method = static_cast<Method>(i);
    EXPECT_EQ(method_from_text(method_name(method)), method);
  }
}

TEST(Fields, are_found_in_any_case_and_only_whole) {
  for (size_t i = 0; i < KNOWN_FIELDS; ++i) {
    const auto field = static_cast<Field>(i);
    std::string name(field_name(field));
    EXPECT_EQ(field_from_name(name), field);
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    EXPECT_EQ(field_from_name(name), field);
    EXPECT_EQ(field_from_name(name + "x"), std::nullopt);
    EXPECT_EQ(field_from_name("x" + name), std::nullopt);
    // One letter changed, anywhere, is another name.
    for (size_t at = 0; at < name.size(); ++at) {
      std::string other = name;
      other[at] = other[at] == 'Q' ? 'Z' : 'Q';
      EXPECT_NE(field_from_name(other), field) << other;
    }
  }
  EXPECT_EQ(field_from_name("x"), std::nullopt);
  EXPECT_EQ(field_from_name(std::string(300, 'a')), std::nullopt);
}

TEST(Fields, fold_letters_only) {
  EXPECT_EQ(field_from_name("if_match"), std::nullopt);
  EXPECT_EQ(field_from_name("HTTP2-settings"), Field::HTTP2_SETTINGS);
  EXPECT_EQ(field_from_name("http^-settings"), std::nullopt);
}

}  // namespace
}  // namespace penstock
