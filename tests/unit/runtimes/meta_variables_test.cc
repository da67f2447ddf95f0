#include "pool/runtimes/gateway/meta_variables.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

GatewayRequest plain() {
  return {.method = "POST",
          .target = "/app/a%20b/x?q=1",
          .path = "/app/a b/x",
          .query = "q=1",
          .authority = "a.example:8080",
          .route_prefix = "/app",
          .remote_address = "192.0.2.1",
          .server_address = "192.0.2.2",
          .remote_port = 4'000,
          .server_port = 8'080,
          .body_length = 0};
}

MetaVariables made(const GatewayRequest& request, const ScriptMapping& mapping = {}, const VariableRules& rules = {}) {
  MetaVariables to;
  set_request_variables(request, mapping, rules, to);
  return to;
}

TEST(MetaVariables, are_those_of_the_rfc) {
  GatewayRequest request = plain();
  request.body_length = 5;
  request.fields = {{"Content-Type", "text/plain"}, {"Content-Length", "5"}, {"Accept-Language", "de"},
                    {"accept-language", "en"},      {"Cookie", "a=1"},       {"cookie", "b=2"}};
  const MetaVariables all = made(request, {.script_name = "/app/a b",
                                           .path_info = "/x",
                                           .script_filename = "/srv/a b",
                                           .document_root = "/srv",
                                           .translates_path = true});
  const std::pair<std::string_view, std::string_view> expected[] = {{"GATEWAY_INTERFACE", "CGI/1.1"},
                                                                    {"SERVER_PROTOCOL", "HTTP/1.1"},
                                                                    {"SERVER_NAME", "a.example"},
                                                                    {"SERVER_PORT", "8080"},
                                                                    {"REQUEST_METHOD", "POST"},
                                                                    {"QUERY_STRING", "q=1"},
                                                                    {"REMOTE_ADDR", "192.0.2.1"},
                                                                    {"REMOTE_HOST", "192.0.2.1"},
                                                                    {"REMOTE_PORT", "4000"},
                                                                    {"SCRIPT_NAME", "/app/a b"},
                                                                    {"PATH_INFO", "/x"},
                                                                    {"PATH_TRANSLATED", "/srv/x"},
                                                                    {"SCRIPT_FILENAME", "/srv/a b"},
                                                                    {"DOCUMENT_ROOT", "/srv"},
                                                                    {"CONTENT_TYPE", "text/plain"},
                                                                    {"CONTENT_LENGTH", "5"},
                                                                    {"HTTP_ACCEPT_LANGUAGE", "de, en"},
                                                                    {"HTTP_COOKIE", "a=1; b=2"},
                                                                    {"REQUEST_URI", "/app/a%20b/x?q=1"},
                                                                    {"REQUEST_SCHEME", "http"},
                                                                    {"SERVER_ADDR", "192.0.2.2"},
                                                                    {"REDIRECT_STATUS", "200"},
                                                                    {"HTTP_HOST", "a.example:8080"}};
  for (const auto& [name, value] : expected) EXPECT_EQ(all.find(name), value) << name;
  EXPECT_TRUE(all.find("SERVER_SOFTWARE").starts_with("penstock/"));
  for (const char* absent : {"HTTPS", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "AUTH_TYPE", "REMOTE_USER"}) {
    EXPECT_EQ(all.find(absent).data(), nullptr) << absent;
  }
  EXPECT_EQ(all.count(), std::size(expected) + 1);
}

TEST(MetaVariables, name_no_file_that_an_interpreter_could_run_instead) {
  EXPECT_EQ(made(plain(), {.path_info = "/image.jpg", .document_root = "/srv"}).find("PATH_TRANSLATED").data(),
            nullptr);
}

TEST(MetaVariables, let_no_field_pass_for_something_else) {
  GatewayRequest request = plain();
  request.fields = {{"Proxy", "evil"},
                    {"PROXY", "evil"},
                    {"X_A", "spoofed"},
                    {"X-A", "true"},
                    {"X.B", "odd"},
                    {"X=C", "odd"},
                    {"", "odd"},
                    {"Authorization", "Basic eA=="},
                    {"Connection", "close"},
                    {"Transfer-Encoding", "chunked"},
                    {"X-Nul", std::string_view("a\0b", 3)}};
  const MetaVariables all = made(request);
  for (size_t i = 0; i < all.count(); ++i) {
    const auto [name, value] = all.at(i);
    EXPECT_TRUE(!name.starts_with("HTTP_") || name == "HTTP_X_A" || name == "HTTP_HOST") << name;
  }
  EXPECT_EQ(all.find("HTTP_X_A"), "true");
  EXPECT_EQ(made(request, {}, {.passes_authorization = true}).find("HTTP_AUTHORIZATION"), "Basic eA==");
}

TEST(MetaVariables, say_a_length_only_where_there_is_one) {
  GatewayRequest request = plain();
  EXPECT_EQ(made(request).find("CONTENT_LENGTH").data(), nullptr);
  request.body_length = PENSTOCK_UNKNOWN_LENGTH;
  EXPECT_EQ(made(request).find("CONTENT_LENGTH").data(), nullptr);
  request.body_length = 0;
  request.fields = {{"Content-Length", "0"}};
  EXPECT_EQ(made(request).find("CONTENT_LENGTH"), "0");
}

TEST(MetaVariables, name_the_server_without_its_port) {
  for (const auto& [authority, name] :
       {std::pair("[::1]:80", "[::1]"), {"[::1]", "[::1]"}, {"a", "a"}, {"", "192.0.2.2"}}) {
    GatewayRequest request = plain();
    request.authority = authority;
    EXPECT_EQ(made(request).find("SERVER_NAME"), name);
  }
  GatewayRequest request = plain();
  request.secure = true;
  request.server_port = 0;  // a unix socket
  EXPECT_EQ(made(request).find("SERVER_PORT"), "443");
  EXPECT_EQ(made(request).find("HTTPS"), "on");
}

TEST(MetaVariables, keep_what_was_set_first) {
  MetaVariables all;
  all.set("SERVER_NAME", "given");
  all.set("HTTP_X", "given");
  GatewayRequest request = plain();
  request.fields = {{"X", "from the client"}};
  set_request_variables(request, {}, {}, all);
  EXPECT_EQ(all.find("SERVER_NAME"), "given");
  EXPECT_EQ(all.find("HTTP_X"), "given");
  std::vector<char*> environment = all.environment();
  EXPECT_STREQ(environment.at(0), "SERVER_NAME=given");
  EXPECT_EQ(environment.size(), all.count() + 1);
  EXPECT_EQ(environment.back(), nullptr);
}

TEST(MetaVariables, have_a_limit) {
  MetaVariables all;
  all.set("A", std::string(MetaVariables::BYTES_MAX - 3, 'a'));
  EXPECT_TRUE(all.fits());
  all.set("B", "");
  EXPECT_FALSE(all.fits());
}

TEST(SplitRoute, takes_the_prefix_off) {
  const auto split = [](std::string_view path, std::string_view prefix) {
    const SplitPath s = split_route(path, prefix);
    return std::string(s.prefix) + "|" + std::string(s.below);
  };
  EXPECT_EQ(split("/app/x", "/app"), "/app|/x");
  EXPECT_EQ(split("/app", "/app"), "/app|");
  EXPECT_EQ(split("/app/", "/app/"), "/app|/");
  EXPECT_EQ(split("/x", "/"), "|/x");
  EXPECT_EQ(split("/x", ""), "|/x");
  EXPECT_EQ(split("/apple", "/app"), "|/apple");
  EXPECT_EQ(split("/other", "/app"), "|/other");
}

}  // namespace
}  // namespace penstock
