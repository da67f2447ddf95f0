/* penstock_worker.h: write an application that runs as a worker of a penstock pool. C99 and later, and C++.
 *
 * A worker is a process of its own, under its pool's identity and sandbox. The front end hands it requests that are
 * parsed already, over shared memory, and takes its answers; it never runs a line of the application. The smallest one:
 *
 *     #include <penstock_worker.h>
 *     static void hello(penstock_exchange *exchange, void *context) {
 *       const penstock_header type = {PENSTOCK_TEXT("Content-Type"), PENSTOCK_TEXT("text/plain")};
 *       penstock_answer(exchange, 200, &type, 1, "hello\n", 6);
 *     }
 *     int main(void) {
 *       const penstock_callbacks callbacks = {.request = hello};
 *       return penstock_worker_run(&callbacks, 0);
 *     }
 *
 * An exchange is one request and its answer. Many are open at a time (up to pool.NAME.concurrency) and may be answered
 * in any order, at once or later. Its pointer is valid until it has ended: with penstock_answer(), penstock_end(),
 * penstock_execute() or penstock_abort(), or when `cancelled` returns.
 *
 * One thread calls the callbacks, and all functions here belong to it, but for penstock_is_cancelled() and
 * penstock_post(). To work elsewhere, keep the pointer, work, and post() the answer back; programs with threads whose
 * switches cost too much have penstock_worker_help() and penstock_try_enter().
 *
 * Requests' strings live in memory that the server shares read-only with this process, up to the end of the exchange.
 * None is NUL-terminated by promise; sizes are in bytes. A bug of the caller (an exchange that has ended, a second
 * head, a write before begin) aborts the process, which the supervisor replaces.
 *
 * Two ways to be a worker: a program with a main() like this one, linked with libpenstock_worker (pool.NAME.runtime =
 * external), or a shared object with a penstock_application() instead (runtime = native). In C++, penstock_worker.hpp
 * says the same with classes.
 */
#ifndef PENSTOCK_WORKER_H
#define PENSTOCK_WORKER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

typedef struct penstock_worker penstock_worker;
typedef struct penstock_exchange penstock_exchange;

typedef struct penstock_string {
  const char* data;
  size_t size;
} penstock_string;

typedef struct penstock_header {
  penstock_string name;
  penstock_string value;
} penstock_header;

/* A string literal as a penstock_string, in an initialiser. */
#define PENSTOCK_TEXT(literal) \
  { literal, sizeof(literal) - 1 }

#define PENSTOCK_UNKNOWN_LENGTH UINT64_MAX

/* Exit code of a worker whose places are all held by requests that were given up for request_timeout: it is replaced at
   once, and that is no failure of the application. */
#define PENSTOCK_EXIT_OVERRUN 70

/* --- the application ----------------------------------------------------------------------- */

enum penstock_why_cancelled {
  PENSTOCK_WHY_CLIENT_GONE = 1, /* nobody is there to read the answer */
  PENSTOCK_WHY_TIMEOUT = 2,     /* the request took longer than pool.NAME.request_timeout */
  PENSTOCK_WHY_STOPPING = 3,    /* the pool is being stopped */
  PENSTOCK_WHY_LOST = 4         /* the front end's process was replaced */
};

/* Each may be 0, but for `request` of an application and one of `filter_*` of a filter. `context` is what
 * penstock_worker_run() got. */
typedef struct penstock_callbacks {
  /* A request has come; its head can be read. Body, if there is one, follows in `body`. */
  void (*request)(penstock_exchange* exchange, void* context);
  /* The next piece of the request's body; valid during the call. `last`: nothing follows. Until it returns the client
   * is held back; to hold it back longer, see penstock_pause(). Without this callback bodies are read and dropped. */
  void (*body)(penstock_exchange* exchange, const char* bytes, size_t size, int last, void* context);
  /* penstock_write() took less than it was given, and now takes more. */
  void (*writable)(penstock_exchange* exchange, void* context);
  /* The answer is wanted no more: nothing more may be sent. After this returns the exchange is gone. */
  void (*cancelled)(penstock_exchange* exchange, enum penstock_why_cancelled why, void* context);
  /* No requests will come. The worker ends when the open exchanges have. */
  void (*stopping)(void* context);
  /* Of a pool that a route names in its `filters`: see "filters" below. Each has an exchange of its own, with the
   * request as it is by then, and ends it, at once or later, as all are ended. */
  void (*filter_request)(penstock_exchange* exchange, void* context);  /* before anything answers */
  void (*filter_response)(penstock_exchange* exchange, void* context); /* before the answer's head goes out */
  void (*filter_log)(penstock_exchange* exchange, void* context);      /* before the record of the request is written */
} penstock_callbacks;

/* The environment variable by which a worker finds its descriptors: numbers, separated by blanks, of the server's half
 * of the segment, the worker's half, the worker's two epoll instances, and one eventfd for each channel. */
#define PENSTOCK_WORKER_VARIABLE "PENSTOCK_WORKER"

/* Runs until the front end says stop and every exchange has ended. Gives the exit code for main(): 0, or 1 with a line
 * on stderr where this process was not started as a worker. */
int penstock_worker_run(const penstock_callbacks* callbacks, void* context);

/* For a program with an event loop of its own: open, then call step() once, whenever fd() is readable, and after own
 * events that used an exchange. step() never waits, and gives 1 while the worker lives, 0 when it should end. It comes
 * back although there is more to do, when it has done much: fd() is readable then. */
/* Gives 0, or a negative errno, and says why on stderr. */
int penstock_worker_open(const penstock_callbacks* callbacks, void* context, penstock_worker** out);
int penstock_worker_fd(const penstock_worker* worker);
int penstock_worker_step(penstock_worker* worker);
void penstock_worker_close(penstock_worker* worker);

/* From any thread: `call(argument)` is called on the worker's thread soon; never, once penstock_worker_run() has
 * returned. Not after penstock_worker_close(). */
void penstock_post(penstock_worker* worker, void (*call)(void* argument), void* argument);
penstock_worker* penstock_worker_of(const penstock_exchange* exchange);

/* Beside penstock_worker_run(), which goes on: another thread waits with it for the front end, is preferred where both
 * wait, and calls the callbacks for what came, so that it can go on at once with a request that it took. Callbacks are
 * never called by two threads at a time. Gives 1 when some were called, or penstock_worker_nudge() was; 0 when the
 * worker has ended. One thread at a time; REQUIRES: a request has come. */
int penstock_worker_help(penstock_worker* worker);
void penstock_worker_nudge(penstock_worker* worker); /* any thread */

/* From another thread: 1 where the worker's thread sleeps and may stay asleep; then this one may use exchanges, until
 * it leaves, which must be soon. What it sends goes out then. 0: post() instead. REQUIRES: a request has come. */
int penstock_try_enter(penstock_worker* worker);
void penstock_leave(penstock_worker* worker);

/* What a shared object that penstock-native loads defines, and all that it needs to. `argv` is the object's path, then
 * the words behind it in pool.NAME.app, then a 0. It fills in `callbacks`, which are all 0, and `context`, and gives 0;
 * or it says on stderr why it cannot run, and gives the exit code. The object is not linked with libpenstock_worker:
 * the functions here are those of penstock-native. */
int penstock_application(int argc, char** argv, penstock_callbacks* callbacks, void** context);

/* --- the request --------------------------------------------------------------------------- */

penstock_string penstock_method(const penstock_exchange* exchange);
penstock_string penstock_target(const penstock_exchange* exchange);    /* as it came: path and query, still escaped */
penstock_string penstock_path(const penstock_exchange* exchange);      /* decoded and canonical; begins with '/' */
penstock_string penstock_query(const penstock_exchange* exchange);     /* as it came, without '?' */
penstock_string penstock_authority(const penstock_exchange* exchange); /* host, and port if given */
penstock_string penstock_route_prefix(const penstock_exchange* exchange); /* what of the path led to this pool */
penstock_string penstock_remote_address(const penstock_exchange* exchange);
penstock_string penstock_server_address(const penstock_exchange* exchange);
penstock_string penstock_site(const penstock_exchange* exchange);
uint16_t penstock_remote_port(const penstock_exchange* exchange); /* 0: a unix socket */
uint16_t penstock_server_port(const penstock_exchange* exchange);
int penstock_is_secure(const penstock_exchange* exchange); /* over TLS */
int penstock_has_query(const penstock_exchange* exchange); /* "/a?" has one, and it is empty */
/* The certificate that the client showed in its TLS handshake, checked by the server: "SUCCESS", "NONE" where the site
 * asks for one and it showed none, else "" (such as all that came without TLS). Nothing in a request's fields gets
 * here. */
penstock_string penstock_client_verify(const penstock_exchange* exchange);
penstock_string penstock_client_subject(const penstock_exchange* exchange);     /* whom it names: RFC 2253 */
penstock_string penstock_client_fingerprint(const penstock_exchange* exchange); /* SHA-256, hexadecimal in lower case */
void penstock_version(const penstock_exchange* exchange, unsigned* major, unsigned* minor);
/* The number under which logs and `penstock requests` show it. */
uint64_t penstock_serial(const penstock_exchange* exchange);

/* Header fields in the order and spelling in which they came. */
size_t penstock_header_count(const penstock_exchange* exchange);
penstock_header penstock_header_at(const penstock_exchange* exchange, size_t number);
/* The first field of that name, whatever its case; data is 0 where there is none. */
penstock_string penstock_header_value(const penstock_exchange* exchange, const char* name);

/* Bytes of the request's body: 0 for none, PENSTOCK_UNKNOWN_LENGTH where it was not announced. */
uint64_t penstock_body_length(const penstock_exchange* exchange);
/* No `body` calls until resume(); the client is held back once the pieces under way are used up. */
void penstock_pause(penstock_exchange* exchange);
void penstock_resume(penstock_exchange* exchange);

/* A pointer of the application's, 0 at first. */
void penstock_set_data(penstock_exchange* exchange, void* data);
void* penstock_data(const penstock_exchange* exchange);

/* Whether the answer is wanted no more, before `cancelled` has said so. From any thread, at any time while the exchange
 * is open: for long computations. */
int penstock_is_cancelled(const penstock_exchange* exchange);

/* --- the answer ---------------------------------------------------------------------------- */

/* What the front end takes as the head of an answer. More aborts the process: who passes on heads of others asks first.
 */
#define PENSTOCK_FIELDS_MAX 128
#define PENSTOCK_HEAD_BYTES_MAX (32 * 1024) /* 16, and for each field 18 and its name and value */
int penstock_head_fits(const penstock_header* fields, size_t field_count);

/* Head, body and end in one. Takes copies; what does not fit into the rings at once goes out as there is room. */
void penstock_answer(penstock_exchange* exchange, unsigned status, const penstock_header* fields, size_t field_count,
                     const void* body, size_t body_size);

/* The same in pieces: begin, write any number of times, end. `length`: of the body, or PENSTOCK_UNKNOWN_LENGTH. Framing
 * (Content-Length, Transfer-Encoding, Connection, Date, Server) is the front end's: such fields are dropped. */
void penstock_begin(penstock_exchange* exchange, unsigned status, const penstock_header* fields, size_t field_count,
                    uint64_t length);
/* How many bytes were taken: all, or as many as client and rings have room for; then `writable` is called. */
size_t penstock_write(penstock_exchange* exchange, const void* bytes, size_t size);
void penstock_end(penstock_exchange* exchange);

/* A part of a file instead of bytes: `path` below what the pool may send; the front end sends it without a copy.
 * `length` PENSTOCK_UNKNOWN_LENGTH: to its end. */
void penstock_write_file(penstock_exchange* exchange, penstock_string path, uint64_t offset, uint64_t length);
/* The body of another URL of the same site, from the response cache. */
void penstock_write_entry(penstock_exchange* exchange, penstock_string path);

/* Instead of an answer: that URL of the same site answers. Not after begin(). */
void penstock_execute(penstock_exchange* exchange, penstock_string target);
/* Instead of the rest of an answer: 502, or a connection that is cut where the head has gone out. */
void penstock_abort(penstock_exchange* exchange);

/* What the front end's response cache may do with an answer; 0 in a member asks for nothing. While it is fresh, the
 * application is not asked for that URL; where it varies, for that URL with the same values of those request fields. */
typedef struct penstock_cache_policy {
  uint32_t fresh_ms;      /* its lifetime; 0: it is not kept */
  uint32_t revalidate_ms; /* after that it still answers, for so long, while one request fetches a new one */
  uint32_t error_ms; /* and for so long where no new one can be had: the pool is down, or answers 500, 502 to 504 */
  const penstock_string* vary; /* names of request fields that the answer depends on */
  size_t vary_count;           /* up to PENSTOCK_CACHE_VARY_MAX, of up to 64 bytes */
  const penstock_string* tags; /* for `penstock cache purge tag:NAME`: visible ASCII without a comma */
  size_t tag_count;            /* up to PENSTOCK_CACHE_TAGS_MAX, of up to 128 bytes */
} penstock_cache_policy;
#define PENSTOCK_CACHE_VARY_MAX 8
#define PENSTOCK_CACHE_TAGS_MAX 32

/* Before begin(): else the answer's header fields say it (Cache-Control, Expires, Vary, Cache-Tag). Takes copies. Gives
 * 0; or -EINVAL for a name that is none, -E2BIG for too many or too long ones: then the answer is not kept, so that
 * nothing is there which could not be purged. A front end that speaks only version 1 of the rings honours fresh_ms, and
 * keeps nothing that varies. */
int penstock_cache(penstock_exchange* exchange, const penstock_cache_policy* policy);
/* The same with a lifetime alone, in milliseconds; 0: its header fields say. */
void penstock_cache_for(penstock_exchange* exchange, uint32_t milliseconds);
/* Text for the log record of this request, up to 8 KiB in one call. */
void penstock_log(penstock_exchange* exchange, penstock_string text);

/* --- filters ------------------------------------------------------------------------------- */

/* The end of a filter's exchange: the request goes on, changed by what was said with the functions below. At the other
 * end is penstock_abort(): the client gets 500, of this request alone. A filter_request may also answer by itself, with
 * penstock_answer() or penstock_begin(): nothing else sees the request then. */
void penstock_filter_pass(penstock_exchange* exchange);

/* Changes of fields, made in the order of the calls: of the request's in filter_request, of the answer's in
 * filter_response. Take copies. Give 0; or -EINVAL for what no field of HTTP is (a name that is no token, a value with
 * a control character), -E2BIG for more than fits (PENSTOCK_FIELDS_MAX, 32 KiB in all): then nothing was changed.
 * Fields that frame messages (Host, Connection, Content-Length, Transfer-Encoding, Date, Server ...) stay as they are.
 */
int penstock_filter_set(penstock_exchange* exchange, penstock_string name, penstock_string value);
int penstock_filter_add(penstock_exchange* exchange, penstock_string name, penstock_string value);
int penstock_filter_remove(penstock_exchange* exchange, penstock_string name);

/* In filter_request: another path, with its query, of the same site is served instead: escaped, as in a request. Gives
 * 0, or as above. */
int penstock_filter_set_target(penstock_exchange* exchange, penstock_string target);
/* In filter_response: another status, 200 to 599. Both have a body, or both have none (204, 205, 304). */
void penstock_filter_set_status(penstock_exchange* exchange, unsigned status);
/* In any: text for the field x-filter of the access log, visible ASCII and blanks; gives 0, or as above. */
int penstock_filter_note(penstock_exchange* exchange, penstock_string text);

/* Of the answer, in filter_response and filter_log; 0 and empty in filter_request. */
unsigned penstock_response_status(const penstock_exchange* exchange);
size_t penstock_response_header_count(const penstock_exchange* exchange);
penstock_header penstock_response_header_at(const penstock_exchange* exchange, size_t number);
penstock_string penstock_response_header_value(const penstock_exchange* exchange, const char* name);
/* In filter_log: bytes of the body that were sent; microseconds since the request's first byte. */
uint64_t penstock_response_body_bytes(const penstock_exchange* exchange);
uint64_t penstock_request_time_us(const penstock_exchange* exchange);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
