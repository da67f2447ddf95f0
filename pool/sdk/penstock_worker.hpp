// penstock_worker.hpp: the C++ face of penstock_worker.h, which is the reference; this adds types and nothing else.
//
//     #include <penstock_worker.hpp>
//     struct Hello : penstock::sdk::Application {
//       void request(penstock::sdk::Exchange exchange) override {
//         exchange.answer(200, {{"Content-Type", "text/plain"}}, "hello\n");
//       }
//     };
//     int main() { Hello hello; return penstock::sdk::run(hello); }       // a program of its own, or
//     PENSTOCK_APPLICATION(Hello)                                         // a shared object for penstock-native
//
// Header only, C++17. It throws nothing, and what an application throws must not leave its functions.
#pragma once

#include "pool/sdk/penstock_worker.h"

#include <functional>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <utility>

namespace penstock::sdk {

inline std::string_view view(penstock_string text) { return {text.data, text.size}; }
inline penstock_string text(std::string_view view) { return {view.data(), view.size()}; }

// See penstock_cache_policy.
struct CachePolicy {
  uint32_t fresh_ms = 0;
  uint32_t revalidate_ms = 0;
  uint32_t error_ms = 0;
  std::initializer_list<std::string_view> vary = {};
  std::initializer_list<std::string_view> tags = {};
};

struct Field {
  std::string_view name;
  std::string_view value;
};

// This process's end of the rings.
class Worker {
 public:
  explicit Worker(penstock_worker* worker) : raw_(worker) {}
  // From any thread: `call` is called on the worker's thread soon.
  void post(std::function<void()> call) const {
    penstock_post(
        raw_,
        [](void* argument) {
          const std::unique_ptr<std::function<void()>> due(static_cast<std::function<void()>*>(argument));
          (*due)();
        },
        std::make_unique<std::function<void()>>(std::move(call)).release());
  }

 private:
  penstock_worker* raw_;
};

// An exchange, by its pointer: a value that is copied freely and is good as long as the exchange is open.
class Exchange {
 public:
  explicit Exchange(penstock_exchange* exchange) : raw_(exchange) {}
  [[nodiscard]] penstock_exchange* raw() const { return raw_; }

  // --- the request ---
  [[nodiscard]] std::string_view method() const { return view(penstock_method(raw_)); }
  [[nodiscard]] std::string_view target() const { return view(penstock_target(raw_)); }
  [[nodiscard]] std::string_view path() const { return view(penstock_path(raw_)); }
  [[nodiscard]] std::string_view query() const { return view(penstock_query(raw_)); }
  [[nodiscard]] std::string_view authority() const { return view(penstock_authority(raw_)); }
  [[nodiscard]] std::string_view route_prefix() const { return view(penstock_route_prefix(raw_)); }
  [[nodiscard]] std::string_view remote_address() const { return view(penstock_remote_address(raw_)); }
  [[nodiscard]] std::string_view site() const { return view(penstock_site(raw_)); }
  [[nodiscard]] std::string_view client_verify() const { return view(penstock_client_verify(raw_)); }
  [[nodiscard]] std::string_view client_subject() const { return view(penstock_client_subject(raw_)); }
  [[nodiscard]] std::string_view client_fingerprint() const { return view(penstock_client_fingerprint(raw_)); }
  [[nodiscard]] bool is_secure() const { return penstock_is_secure(raw_) != 0; }
  [[nodiscard]] uint64_t serial() const { return penstock_serial(raw_); }
  [[nodiscard]] size_t field_count() const { return penstock_header_count(raw_); }
  [[nodiscard]] Field field(size_t number) const {
    const penstock_header field = penstock_header_at(raw_, number);
    return {view(field.name), view(field.value)};
  }
  // Its data() is null where there is none. `name` ends with a NUL.
  [[nodiscard]] std::string_view value_of(const char* name) const { return view(penstock_header_value(raw_, name)); }
  [[nodiscard]] uint64_t body_length() const { return penstock_body_length(raw_); }
  void pause() const { penstock_pause(raw_); }
  void resume() const { penstock_resume(raw_); }
  [[nodiscard]] bool is_cancelled() const { return penstock_is_cancelled(raw_) != 0; }

  // Something of the application's own for this exchange. Who keeps it takes it before the exchange ends, or in
  // `cancelled`; only one thing is kept, and always of the same type.
  template <typename T>
  void keep(std::unique_ptr<T> thing) const {
    penstock_set_data(raw_, thing.release());
  }
  template <typename T>
  [[nodiscard]] T* kept() const {
    return static_cast<T*>(penstock_data(raw_));
  }
  template <typename T>
  [[nodiscard]] std::unique_ptr<T> take() const {
    std::unique_ptr<T> thing(kept<T>());
    penstock_set_data(raw_, nullptr);
    return thing;
  }

  // --- the answer ---
  void answer(unsigned status, std::initializer_list<Field> fields, std::string_view body) const {
    with(fields, [&](const penstock_header* all, size_t count) {
      penstock_answer(raw_, status, all, count, body.data(), body.size());
    });
  }
  void begin(unsigned status, std::initializer_list<Field> fields, uint64_t length = PENSTOCK_UNKNOWN_LENGTH) const {
    with(fields, [&](const penstock_header* all, size_t count) { penstock_begin(raw_, status, all, count, length); });
  }
  [[nodiscard]] size_t write(std::string_view bytes) const { return penstock_write(raw_, bytes.data(), bytes.size()); }
  void write_file(std::string_view path, uint64_t offset = 0, uint64_t length = PENSTOCK_UNKNOWN_LENGTH) const {
    penstock_write_file(raw_, text(path), offset, length);
  }
  void write_entry(std::string_view path) const { penstock_write_entry(raw_, text(path)); }
  void end() const { penstock_end(raw_); }
  void execute(std::string_view target) const { penstock_execute(raw_, text(target)); }
  void abort() const { penstock_abort(raw_); }
  // 0, or a negative errno: then the answer is not kept.
  int cache(const CachePolicy& policy) const {
    penstock_string vary[PENSTOCK_CACHE_VARY_MAX + 1];
    penstock_string tags[PENSTOCK_CACHE_TAGS_MAX + 1];
    const penstock_cache_policy all{policy.fresh_ms,
                                    policy.revalidate_ms,
                                    policy.error_ms,
                                    vary,
                                    texts(policy.vary, vary, PENSTOCK_CACHE_VARY_MAX + 1),
                                    tags,
                                    texts(policy.tags, tags, PENSTOCK_CACHE_TAGS_MAX + 1)};
    return penstock_cache(raw_, &all);
  }
  void cache_for(uint32_t milliseconds) const { penstock_cache_for(raw_, milliseconds); }
  void log(std::string_view words) const { penstock_log(raw_, text(words)); }

  // --- of a filter ---
  void pass() const { penstock_filter_pass(raw_); }
  int set(std::string_view name, std::string_view value) const {
    return penstock_filter_set(raw_, text(name), text(value));
  }
  int add(std::string_view name, std::string_view value) const {
    return penstock_filter_add(raw_, text(name), text(value));
  }
  int remove(std::string_view name) const { return penstock_filter_remove(raw_, text(name)); }
  int set_target(std::string_view target) const { return penstock_filter_set_target(raw_, text(target)); }
  void set_status(unsigned status) const { penstock_filter_set_status(raw_, status); }
  int note(std::string_view words) const { return penstock_filter_note(raw_, text(words)); }
  [[nodiscard]] unsigned response_status() const { return penstock_response_status(raw_); }
  [[nodiscard]] size_t response_field_count() const { return penstock_response_header_count(raw_); }
  [[nodiscard]] Field response_field(size_t number) const {
    const penstock_header field = penstock_response_header_at(raw_, number);
    return {view(field.name), view(field.value)};
  }
  [[nodiscard]] std::string_view response_value_of(const char* name) const {
    return view(penstock_response_header_value(raw_, name));
  }
  [[nodiscard]] uint64_t response_body_bytes() const { return penstock_response_body_bytes(raw_); }
  [[nodiscard]] uint64_t request_time_us() const { return penstock_request_time_us(raw_); }

  [[nodiscard]] Worker worker() const { return Worker(penstock_worker_of(raw_)); }

 private:
  // One more than may be: that is told from all that may.
  static size_t texts(std::initializer_list<std::string_view> from, penstock_string* to, size_t most) {
    size_t count = 0;
    for (const std::string_view one : from) {
      if (count < most) to[count++] = text(one);
    }
    return count;
  }
  template <typename Call>
  static void with(std::initializer_list<Field> fields, Call call) {
    penstock_header all[PENSTOCK_FIELDS_MAX];
    size_t count = 0;
    for (const Field& field : fields) {
      if (count < PENSTOCK_FIELDS_MAX) all[count++] = {text(field.name), text(field.value)};
    }
    call(all, count);
  }

  penstock_exchange* raw_;
};

// The callbacks of penstock_worker.h as functions of a class. Without a body() of its own, bodies are read and dropped.
class Application {
 public:
  Application() = default;
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;
  virtual ~Application() = default;
  virtual void request(Exchange exchange) = 0;
  virtual void body(Exchange, std::string_view /*bytes*/, bool /*last*/) {}
  virtual void writable(Exchange) {}
  virtual void cancelled(Exchange, penstock_why_cancelled) {}
  virtual void stopping() {}
};

// The same for a filter: what it does not override, it passes.
class Filter {
 public:
  Filter() = default;
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  virtual ~Filter() = default;
  virtual void filter_request(Exchange exchange) { exchange.pass(); }
  virtual void filter_response(Exchange exchange) { exchange.pass(); }
  virtual void filter_log(Exchange exchange) { exchange.pass(); }
  virtual void cancelled(Exchange, penstock_why_cancelled) {}
  virtual void stopping() {}
};

// `context` for these is a Filter.
inline penstock_callbacks filter_callbacks() {
  penstock_callbacks all{};
  all.filter_request = [](penstock_exchange* exchange, void* context) {
    static_cast<Filter*>(context)->filter_request(Exchange(exchange));
  };
  all.filter_response = [](penstock_exchange* exchange, void* context) {
    static_cast<Filter*>(context)->filter_response(Exchange(exchange));
  };
  all.filter_log = [](penstock_exchange* exchange, void* context) {
    static_cast<Filter*>(context)->filter_log(Exchange(exchange));
  };
  all.cancelled = [](penstock_exchange* exchange, penstock_why_cancelled why, void* context) {
    static_cast<Filter*>(context)->cancelled(Exchange(exchange), why);
  };
  all.stopping = [](void* context) { static_cast<Filter*>(context)->stopping(); };
  return all;
}

inline int run(Filter& filter) {
  const penstock_callbacks all = filter_callbacks();
  return penstock_worker_run(&all, &filter);
}

// `context` for these is an Application.
inline penstock_callbacks callbacks() {
  penstock_callbacks all{};
  all.request = [](penstock_exchange* exchange, void* context) {
    static_cast<Application*>(context)->request(Exchange(exchange));
  };
  all.body = [](penstock_exchange* exchange, const char* bytes, size_t size, int last, void* context) {
    static_cast<Application*>(context)->body(Exchange(exchange), {bytes, size}, last != 0);
  };
  all.writable = [](penstock_exchange* exchange, void* context) {
    static_cast<Application*>(context)->writable(Exchange(exchange));
  };
  all.cancelled = [](penstock_exchange* exchange, penstock_why_cancelled why, void* context) {
    static_cast<Application*>(context)->cancelled(Exchange(exchange), why);
  };
  all.stopping = [](void* context) { static_cast<Application*>(context)->stopping(); };
  return all;
}

// The exit code for main().
inline int run(Application& application) {
  const penstock_callbacks all = callbacks();
  return penstock_worker_run(&all, &application);
}

}  // namespace penstock::sdk

// At file scope of a shared object for penstock-native: a `Type` of its own is the application, as long as the process.
#define PENSTOCK_APPLICATION(Type)                                                    \
  int penstock_application(int, char**, penstock_callbacks* wanted, void** context) { \
    static Type application;                                                          \
    *wanted = penstock::sdk::callbacks();                                             \
    *context = static_cast<penstock::sdk::Application*>(&application);                \
    return 0;                                                                         \
  }
// The same with a filter.
#define PENSTOCK_FILTER(Type)                                                         \
  int penstock_application(int, char**, penstock_callbacks* wanted, void** context) { \
    static Type filter;                                                               \
    *wanted = penstock::sdk::filter_callbacks();                                      \
    *context = static_cast<penstock::sdk::Filter*>(&filter);                          \
    return 0;                                                                         \
  }
