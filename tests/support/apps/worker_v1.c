/* A worker that speaks version 1 of the protocol and nothing else: what was linked with penstock before version 2.
 *
 * Frozen. It is written by pool/abi/README.md as that page stood for version 1, in numbers: it includes no header of
 * penstock and links nothing of it, so that a change of the layout cannot change this end along with the other. If the
 * server no longer serves it, the server is what is wrong, until version 1 is given up (PENSTOCK_ABI_VERSION_MIN).
 *
 * Answers every request with "v1 METHOD PATH BYTES": the bytes that the body had.
 *
 * Arguments: "before-beds" knows only the list of descriptors that there was before beds; "ready N" says that it speaks
 * version N. A path that ends in "/lie-X" is answered by what no worker may say: lie() has the letters.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, SLOTS = 1024, CHANNELS_MAX = 64 };

struct channel {
  const uint8_t* server; /* server page, cancel page, requests, arena */
  uint8_t* worker;       /* worker page, responses, arena */
  uint32_t request_head, response_tail, epoch, arena_at;
  struct {
    uint32_t generation, name_at, name_bytes, got;
    char name[512];
  } inside[SLOTS];
  int bell;
};

static uint32_t entries, arena_bytes;
static uint16_t spoken = 1;
static const uint8_t* requests_of(const struct channel* c) { return c->server + 2 * PAGE; }
static const uint8_t* chunks_of(const struct channel* c) { return requests_of(c) + (size_t)entries * 64; }
static uint8_t* responses_of(const struct channel* c) { return c->worker + PAGE; }
static uint8_t* arena_of(const struct channel* c) { return responses_of(c) + (size_t)entries * 64; }

static uint32_t get32(const uint8_t* at) { return __atomic_load_n((const uint32_t*)at, __ATOMIC_ACQUIRE); }
static void set32(uint8_t* at, uint32_t value) { __atomic_store_n((uint32_t*)at, value, __ATOMIC_RELEASE); }

/* A descriptor, in the places that it has had since version 1. */
struct word {
  uint8_t kind, flags;
  uint16_t status, slot, zero;
  uint32_t generation, credit, head_at, head_bytes, body_at, body_bytes;
  uint64_t length, offset, serial, zeros;
};

static void say(struct channel* c, const struct word* word) {
  memcpy(responses_of(c) + (size_t)(c->response_tail % entries) * 64, word, 64);
  set32(c->worker + 64, ++c->response_tail);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (get32(c->server + 128) == 1) {
    const uint64_t one = 1;
    (void)!write(c->bell, &one, sizeof one);
  }
}

/* A head with one field, then the body, in one piece of the arena. */
static void answer(struct channel* c, uint16_t slot) {
  static const char NAME[] = "X-Version", VALUE[] = "1";
  char body[640];
  const int size = snprintf(body, sizeof body, "v1 %s %u\n", c->inside[slot].name, c->inside[slot].got);
  uint8_t block[16 + 16 + sizeof NAME + sizeof VALUE];
  const uint32_t head[] = {sizeof block, 1, 16, 0, 32, sizeof NAME - 1, 32 + sizeof NAME, sizeof VALUE - 1};
  memcpy(block, head, sizeof head);
  memcpy(block + 32, NAME, sizeof NAME);
  memcpy(block + 32 + sizeof NAME, VALUE, sizeof VALUE);
  if (c->arena_at + 1024 > arena_bytes) c->arena_at = 0; /* few are under way: the place has long been read */
  struct word word = {.kind = 17, .flags = 1, .status = 200, .slot = slot, .generation = c->inside[slot].generation};
  word.head_at = c->arena_at;
  word.head_bytes = sizeof block;
  word.body_at = c->arena_at + ((sizeof block + 7) & ~7U);
  word.body_bytes = (uint32_t)size;
  word.length = (uint64_t)size;
  memcpy(arena_of(c) + word.head_at, block, sizeof block);
  memcpy(arena_of(c) + word.body_at, body, (size_t)size);
  c->arena_at = (word.body_at + word.body_bytes + 7) & ~7U;
  say(c, &word);
}

/* One way each to be no worker: k an unknown kind, s a slot that is not, g a generation of before, h a head that lies
 * outside of the arena, b a body that does, c more than was granted, t more descriptors than the ring has. */
static void lie(struct channel* c, uint16_t slot, char how) {
  struct word word = {.kind = 17, .flags = 1, .status = 200, .slot = slot, .generation = c->inside[slot].generation};
  if (how == 'k') word.kind = 255;
  if (how == 's') word.slot = 65535;
  if (how == 'g') --word.generation;
  if (how == 'h') word.head_bytes = 64, word.head_at = arena_bytes - 8;
  if (how == 'b') word.body_bytes = 64, word.body_at = arena_bytes;
  if (how == 'c') {
    static const uint32_t HEAD[] = {16, 0, 16, 0}; /* of no field */
    memcpy(arena_of(c), HEAD, sizeof HEAD);
    word.head_bytes = word.body_at = (uint32_t)sizeof HEAD;
    word.body_bytes = arena_bytes - (uint32_t)sizeof HEAD;
    word.length = UINT64_MAX;
  }
  if (how == 't') c->response_tail += entries;
  say(c, &word);
}

static void obey(struct channel* c, const struct word* word) {
  struct word to = {.slot = word->slot, .generation = word->generation};
  switch (word->kind) {
    case 1: { /* REQUEST: method at 24, path at 40 of its head, each as offset and length */
      const uint8_t* const head = chunks_of(c) + word->head_at;
      uint32_t method[2], path[2];
      memcpy(method, head + 24, sizeof method);
      memcpy(path, head + 40, sizeof path);
      c->inside[word->slot].generation = word->generation;
      c->inside[word->slot].got = word->body_bytes;
      snprintf(c->inside[word->slot].name, sizeof c->inside[word->slot].name, "%.*s %.*s", (int)method[1],
               (const char*)head + method[0], (int)path[1], (const char*)head + path[0]);
      const char* const lies = strstr(c->inside[word->slot].name, "/lie-");
      if (lies != NULL) {
        lie(c, word->slot, lies[5]);
      } else if (word->flags & 1) {
        answer(c, word->slot);
      }
      break;
    }
    case 2: /* BODY */
      c->inside[word->slot].got += word->body_bytes;
      to.kind = 22; /* CONSUMED */
      to.credit = 1;
      say(c, &to);
      if (word->flags & 1) answer(c, word->slot);
      break;
    case 4: /* CANCEL */
      to.kind = 23;
      to.flags = 1;
      say(c, &to);
      break;
    case 5: /* PING */
      to = (struct word){.kind = 24, .serial = word->serial};
      say(c, &to);
      break;
    case 6: /* STOP: nothing is inside, as each request is answered at once */
      exit(0);
    default:
      break;
  }
}

/* Takes what is there; whether there was any. */
static int look(struct channel* c) {
  const uint32_t epoch = get32(c->server + 192);
  if (epoch != c->epoch) {
    c->epoch = epoch;
    c->request_head = get32(c->server);
    set32(c->worker, c->request_head);
    set32(c->worker + 196, c->response_tail);
    set32(c->worker + 192, epoch);
    const struct word ready = {.kind = 16, .status = spoken};
    say(c, &ready);
    return 1;
  }
  int some = 0;
  for (; c->request_head != get32(c->server); some = 1) {
    struct word word;
    memcpy(&word, requests_of(c) + (size_t)(c->request_head % entries) * 64, 64);
    set32(c->worker, ++c->request_head);
    obey(c, &word);
  }
  return some;
}

/* The decimal number at the beginning of `*text`, which moves behind it. */
static int take_number(const char** text) {
  int number = 0;
  for (; **text >= '0' && **text <= '9'; ++*text) number = number * 10 + (**text - '0');
  return number;
}

static const uint8_t* map(int fd, int protection) {
  struct stat info;
  if (fstat(fd, &info) != 0) return NULL;
  void* const at = mmap(NULL, (size_t)info.st_size, protection, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? NULL : at;
}

int main(int argc, char** argv) {
  static struct channel channels[CHANNELS_MAX];
  int fds[4 + CHANNELS_MAX], count = 0;
  const char* text = getenv("PENSTOCK_WORKER");
  while (text != NULL && *text >= '0' && *text <= '9' && count < 4 + CHANNELS_MAX) {
    fds[count++] = take_number(&text);
    text += *text == ' ';
  }
  if (count < 5) return 2;
  const uint8_t* const server = map(fds[0], PROT_READ);
  uint8_t* const worker = (uint8_t*)(uintptr_t)map(fds[1], PROT_READ | PROT_WRITE);
  if (server == NULL || worker == NULL || memcmp(server, "PNSTKAB1", 8) != 0 || get32(server + 8) != 1) return 3;
  const uint32_t channels_count = get32(server + 12);
  uint64_t server_step, worker_step;
  memcpy(&server_step, server + 40, 8);
  memcpy(&worker_step, server + 48, 8);
  entries = get32(server + 16);
  arena_bytes = get32(server + 32);
  if (argc > 2 && strcmp(argv[1], "ready") == 0) {
    const char* number = argv[2];
    spoken = (uint16_t)take_number(&number);
  }
  const uint32_t others = argc > 1 && strcmp(argv[1], "before-beds") == 0 ? 3 : 4;
  if (channels_count != (uint32_t)count - others) {
    fprintf(stderr, "worker_v1: %u channels, and descriptors for %u\n", channels_count, (uint32_t)count - others);
    return 4;
  }
  for (uint32_t i = 0; i < channels_count; ++i) {
    channels[i].server = server + PAGE + i * server_step;
    channels[i].worker = worker + i * worker_step;
    channels[i].bell = fds[4 + i];
  }
  for (;;) {
    int some = 0;
    for (uint32_t i = 0; i < channels_count; ++i) some |= look(&channels[i]);
    if (some) continue;
    for (uint32_t i = 0; i < channels_count; ++i) set32(channels[i].worker + 128, 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < channels_count; ++i) {
      some |=
          get32(channels[i].server) != channels[i].request_head || get32(channels[i].server + 192) != channels[i].epoch;
    }
    struct epoll_event event;
    if (!some) (void)epoll_wait(fds[2], &event, 1, -1);
    for (uint32_t i = 0; i < channels_count; ++i) set32(channels[i].worker + 128, 0);
  }
}
