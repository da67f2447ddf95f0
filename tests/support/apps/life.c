/* An application for tests of the life of workers: the path of a request says what it does.
 *
 *   …/who     answers with the moment of its start, which tells it from all others
 *   …/echo    the same, after 20 ms
 *   …/slow    the same, after 700 ms
 *   …/hold    the same, when it is told to stop
 *   …/loop    computes for ever
 *   …/sleep   sleeps for ever
 *   …/deaf    ignores SIGTERM, and computes for ever
 *   …/crash   aborts
 *   …/segv    writes where nothing may be written
 *   …/forbidden  makes a system call that no sandbox allows
 *   …/peek    opens /etc/debian_version, waits 100 ms, and answers with the errno of that
 *   …/peek-fast  the same without waiting
 *   …/shell   tries to become a shell, and answers with the errno of that
 *   …/exit3   exits with code 3
 *   …/leave   exits with code 0
 *   …/grow    takes 64 MiB more
 *   …/print   prints 1,000 lines on stderr
 *   …/block   waits in the kernel for what never comes
 *   …/stream  answers without an end
 *   …/jam-own      makes wait whoever writes what wakes it, and answers with how much it could spoil
 *   …/jam-servers  the same of what wakes the server
 *   …/flood   rings the server 100,000 times, then answers
 *   …/told    answers with the variables and the field that tests ask for
 *   …/file    "[", 40,000,000 bytes of the site's large.bin from its 1,000th on, "]"
 *   …/entry   "[", the body of /hello.txt, "]"
 *   …/execute names the URL in its query in place of an answer, or itself without one
 *   …/fail    answers 500
 *   …/init    ends a cold start, after 200 ms; 500 where that is over
 *
 * Arguments: "die" ends before it is ready; "die-if FILE" does so while FILE is there; "cold" answers 503 to all else
 * until …/init was asked. */
#include "pool/sdk/penstock_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long started_ns;
static penstock_exchange* held[1024];
static int held_count;
static int cold;

static void answer_start(penstock_exchange* exchange) {
  char text[32];
  const int size = snprintf(text, sizeof text, "%lld\n", started_ns);
  penstock_answer(exchange, 200, 0, 0, text, (size_t)size);
}

static int ends_with(penstock_string path, const char* end) {
  const size_t size = strlen(end);
  return path.size >= size && memcmp(path.data + path.size - size, end, size) == 0;
}

static void wait_ms(long ms) {
  const struct timespec span = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&span, 0);
}

static void compute_for_ever(void) {
  for (;;) {
  }
}

static void stream(penstock_exchange* exchange, void* context) {
  static const char TEXT[1024];
  (void)context;
  while (penstock_write(exchange, TEXT, sizeof TEXT) == sizeof TEXT) {
  }
}

/* The descriptors behind the two halves of the segment: its two beds, then the doorbells of the server's reactors. */
enum { FIRST_BED = 7, FIRST_SERVER_BELL = 9, DOORBELLS_END = 32 };

/* How many of them can be made to let wait who writes there. */
static int jam(int first, int end) {
  const uint64_t full = UINT64_MAX - 1;
  int spoilt = 0;
  for (int fd = first; fd < end; ++fd) {
    spoilt += fcntl(fd, F_SETFL, 0) == 0 && write(fd, &full, sizeof full) == (ssize_t)sizeof full;
  }
  return spoilt;
}

static void answer_number(penstock_exchange* exchange, int number) {
  char text[32];
  penstock_answer(exchange, 200, 0, 0, text, (size_t)snprintf(text, sizeof text, "%d\n", number));
}

static void flood(void) {
  const uint64_t one = 1;
  for (int i = 0; i < 100000; ++i) (void)!write(FIRST_SERVER_BELL, &one, sizeof one);
}

static int tell(char* to, const char* name, penstock_string value) {
  return snprintf(to, 200, " %s=%.*s", name, value.size != 0 ? (int)value.size : 1, value.size != 0 ? value.data : "-");
}

/* Over TLS, what tells of it. */
static void answer_told_secure(penstock_exchange* exchange) {
  char text[800];
  int size = snprintf(text, sizeof text, "SCHEME=https SERVER_PORT=%d", penstock_server_port(exchange));
  size += tell(text + size, "SSL_CLIENT_VERIFY", penstock_client_verify(exchange));
  size += tell(text + size, "SSL_CLIENT_S_DN", penstock_client_subject(exchange));
  size += tell(text + size, "SSL_CLIENT_FINGERPRINT", penstock_client_fingerprint(exchange));
  penstock_answer(exchange, 200, 0, 0, text, (size_t)size);
}

static void answer_told(penstock_exchange* exchange) {
  if (penstock_is_secure(exchange)) {
    answer_told_secure(exchange);
    return;
  }
  static const char* const NAMES[] = {"POOL_SAYS", "IDENTITY_SAYS", "BOTH_SAY"};
  char text[512];
  int size = 0;
  for (int i = 0; i < 3; ++i) {
    const char* const value = getenv(NAMES[i]);
    size += snprintf(text + size, 100, "%s=%.50s ", NAMES[i], value != 0 ? value : "-");
  }
  const penstock_string field = penstock_header_value(exchange, "Authorization");
  size += snprintf(text + size, 100, "HTTP_AUTHORIZATION=%.*s\n", field.data != 0 ? (int)field.size : 1,
                   field.data != 0 ? field.data : "-");
  penstock_answer(exchange, 200, 0, 0, text, (size_t)size);
}

static void answer_in_parts(penstock_exchange* exchange, int with_file) {
  const penstock_string file = PENSTOCK_TEXT("large.bin");
  const penstock_string url = PENSTOCK_TEXT("/hello.txt");
  penstock_begin(exchange, 200, 0, 0, PENSTOCK_UNKNOWN_LENGTH);
  penstock_write(exchange, "[", 1);
  if (with_file) {
    penstock_write_file(exchange, file, 1000, 40000000);
  } else {
    penstock_write_entry(exchange, url);
  }
  penstock_write(exchange, "]", 1);
  penstock_end(exchange);
}

static void request(penstock_exchange* exchange, void* context) {
  const penstock_string path = penstock_path(exchange);
  (void)context;
  if (ends_with(path, "/fail") || (ends_with(path, "/init") && !cold)) {
    penstock_answer(exchange, 500, 0, 0, "no\n", 3);
    return;
  }
  if (ends_with(path, "/init")) {
    wait_ms(200);
    cold = 0;
  }
  if (cold) {
    penstock_answer(exchange, 503, 0, 0, "cold\n", 5);
    return;
  }
  if (ends_with(path, "/echo")) wait_ms(20);
  if (ends_with(path, "/slow")) wait_ms(700);
  if (ends_with(path, "/loop")) compute_for_ever();
  if (ends_with(path, "/sleep")) {
    for (;;) wait_ms(1000);
  }
  if (ends_with(path, "/block")) {
    int ends[2];
    char byte;
    if (pipe(ends) == 0) (void)!read(ends[0], &byte, 1);
  }
  if (ends_with(path, "/stream")) {
    penstock_begin(exchange, 200, 0, 0, PENSTOCK_UNKNOWN_LENGTH);
    stream(exchange, 0);
    return;
  }
  if (ends_with(path, "/file") || ends_with(path, "/entry")) {
    answer_in_parts(exchange, ends_with(path, "/file"));
    return;
  }
  if (ends_with(path, "/execute")) {
    const penstock_string query = penstock_query(exchange);
    penstock_execute(exchange, query.size != 0 ? query : penstock_target(exchange));
    return;
  }
  if (ends_with(path, "/jam-own")) {
    answer_number(exchange, jam(FIRST_BED, FIRST_SERVER_BELL));
    return;
  }
  if (ends_with(path, "/jam-servers")) {
    answer_number(exchange, jam(FIRST_SERVER_BELL, DOORBELLS_END));
    return;
  }
  if (ends_with(path, "/flood")) flood();
  if (ends_with(path, "/told")) {
    answer_told(exchange);
    return;
  }
  if (ends_with(path, "/deaf")) {
    signal(SIGTERM, SIG_IGN);
    compute_for_ever();
  }
  if (ends_with(path, "/crash")) abort();
  if (ends_with(path, "/segv")) memset(mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, 4096);
  if (ends_with(path, "/forbidden")) syscall(SYS_keyctl, 0, 0, 0, 0, 0);
  if (ends_with(path, "/peek") || ends_with(path, "/peek-fast")) {
    errno = 0;
    const int fd = open("/etc/debian_version", O_RDONLY);
    const int error = errno;
    if (fd >= 0) close(fd);
    if (ends_with(path, "/peek")) wait_ms(100);
    answer_number(exchange, error);
    return;
  }
  if (ends_with(path, "/shell")) {
    char* const words[] = {"/bin/sh", "-c", "exit 0", 0};
    char text[32];
    execve(words[0], words, &words[3]);
    penstock_answer(exchange, 200, 0, 0, text, (size_t)snprintf(text, sizeof text, "errno %d\n", errno));
    return;
  }
  if (ends_with(path, "/exit3")) _exit(3);
  if (ends_with(path, "/leave")) _exit(0);
  if (ends_with(path, "/grow")) {
    char* more = malloc(64 << 20);
    if (more != 0) memset(more, 1, 64 << 20);
  }
  if (ends_with(path, "/print")) {
    for (int i = 0; i < 1000; ++i) fprintf(stderr, "line %d\n", i);
  }
  if (ends_with(path, "/hold") && held_count < 1024) {
    held[held_count++] = exchange;
    return;
  }
  answer_start(exchange);
}

/* Goes on whenever there is room, until it is cancelled. */
static void writable(penstock_exchange* exchange, void* context) { stream(exchange, context); }

static void stopping(void* context) {
  (void)context;
  while (held_count > 0) answer_start(held[--held_count]);
}

int main(int argc, char** argv) {
  const penstock_callbacks callbacks = {.request = request, .writable = writable, .stopping = stopping};
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  started_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
  if (argc > 1 && strcmp(argv[1], "die") == 0) return 3;
  if (argc > 2 && strcmp(argv[1], "die-if") == 0 && access(argv[2], F_OK) == 0) return 3;
  cold = argc > 1 && strcmp(argv[1], "cold") == 0;
  return penstock_worker_run(&callbacks, 0);
}
