/* The memory between the server and one worker process: what lies where. Versions 1 to 3; pool/abi/README.md
 * explains it.
 *
 * Plain C11 and <stdint.h>: the one file that a runtime in another language has to follow.
 *
 * Two sealed memfds for each process that is started, never for more than one: what a process leaves behind is
 * dropped with it. Every page has one writer, and the kernel sees to it: a worker has the server's half read-only.
 *
 *   server half (the server writes, the worker reads)      worker half (the worker writes, the server reads)
 *   +--------------------------------------+ 0             +--------------------------------------+ 0
 *   | penstock_segment: geometry, constant |               | channel 0                            |
 *   +--------------------------------------+ 4096          |  +--------------------------------+  |
 *   | channel 0                            |               |  | penstock_worker_page           |  |
 *   |  +--------------------------------+  |               |  +--------------------------------+  |
 *   |  | penstock_server_page           |  |               |  | responses: entries x 64 bytes  |  |
 *   |  +--------------------------------+  |               |  +--------------------------------+  |
 *   |  | penstock_cancel_page           |  |               |  | arena, used as a ring          |  |
 *   |  +--------------------------------+  |               |  +--------------------------------+  |
 *   |  | requests: entries x 64 bytes   |  |               +--------------------------------------+
 *   |  +--------------------------------+  |               | channel 1 ...                        |
 *   |  | arena: chunks x chunk_bytes    |  |
 *   |  +--------------------------------+  |
 *   +--------------------------------------+
 *   | channel 1 ...                        |      one channel for each reactor of the server
 *
 * Ordering. A producer writes descriptors, then stores its tail (release); the consumer loads that tail (acquire),
 * reads, then stores its head (release); the producer loads that head (acquire) before it writes over anything. All
 * indices run freely over 32 bits. Who goes to sleep stores 1 to `sleeping`, then looks at the tail once more; who has
 * stored a tail looks at the other's `sleeping` and rings its doorbell where it is 1: both with a full fence
 * between the two (seq_cst), so that one of them sees the other. Who goes to sleep has stored the head of all that it
 * took: while that has not passed what was there when the doorbell was last rung, it need not be rung again.
 *
 * Numbers are the machine's: little-endian, naturally aligned. Both ends run on one machine.
 */
#pragma once

#include <stdint.h>

#define PENSTOCK_ABI_MAGIC UINT64_C(0x3142414b54534e50) /* "PNSTKAB1" in memory order */
#define PENSTOCK_ABI_VERSION 3u                         /* the newest that is described here */
#define PENSTOCK_ABI_VERSION_MIN 1u                     /* the oldest that is still spoken */
#define PENSTOCK_PAGE 4096u
#define PENSTOCK_DESCRIPTOR_BYTES 64u
#define PENSTOCK_EXCHANGES_MAX 1024u /* of a channel at a time */
#define PENSTOCK_LENGTH_UNKNOWN UINT64_MAX
#define PENSTOCK_HEAD_BYTES 32768u /* of a response's head block, at most */
#define PENSTOCK_HEAD_FIELDS 128u
#define PENSTOCK_POLICY_BYTES 8192u /* and as much again for its policy, from version 2 on */
#define PENSTOCK_POLICY_VARY_MAX 8u /* names, and bytes of each */
#define PENSTOCK_POLICY_VARY_BYTES 64u
#define PENSTOCK_POLICY_TAGS_MAX 32u
#define PENSTOCK_POLICY_TAG_BYTES 128u

/* Constant: written before any process has the descriptor. The server keeps its own copy and never looks back. */
struct penstock_segment {
  uint64_t magic;
  uint32_t version;       /* the oldest that this server speaks: who does not know it cannot be its worker */
  uint32_t channels;      /* reactors of the server */
  uint32_t entries;       /* of each descriptor ring: a power of two, 64 to 65536 */
  uint32_t exchanges_max; /* requests inside this worker, of one channel, at a time: 1 to PENSTOCK_EXCHANGES_MAX */
  uint32_t chunk_bytes;   /* a multiple of PENSTOCK_PAGE */
  uint32_t chunks;        /* in the server's arena of a channel */
  uint32_t arena_bytes;   /* the worker's arena of a channel: a power of two, a multiple of PENSTOCK_PAGE */
  uint32_t version_max;   /* the newest that this server speaks; 0, of a server that knows only version 1: `version` */
  uint64_t server_channel_bytes; /* from one channel to the next, in either half */
  uint64_t worker_channel_bytes;
  uint64_t worker; /* number of this process in its pool, for logs; never used twice while the instance lives */
};

struct penstock_server_page {
  uint32_t request_tail; /* descriptors written */
  uint32_t pad0[15];
  uint32_t response_head; /* descriptors read; the worker's arena up to there is free again */
  uint32_t pad1[15];
  uint32_t sleeping; /* 1: ring the channel's eventfd after writing */
  uint32_t pad2[15];
  uint32_t epoch; /* of the server process at this end; 0: none. Another number: forget all that was under way */
  uint32_t pad3[15];
};

/* Polled by an application that works for long without looking at its ring. */
struct penstock_cancel_page {
  uint32_t cancelled[PENSTOCK_EXCHANGES_MAX]; /* by slot: the generation that nobody wants an answer of any more */
};

struct penstock_worker_page {
  uint32_t request_head; /* descriptors read */
  uint32_t pad0[15];
  uint32_t response_tail; /* descriptors written */
  uint32_t pad1[15];
  uint32_t sleeping; /* 1: ring the worker's doorbell after writing */
  uint32_t starving; /* 1: its ring or arena is full, ring also after reading */
  uint32_t pad2[14];
  uint32_t epoch;      /* the server's epoch that this end has taken up: store it last */
  uint32_t epoch_tail; /* response_tail at that moment: what came before is for a server that is gone */
  uint32_t pad3[14];
};

/* From the server. */
enum penstock_to_worker {
  PENSTOCK_REQUEST =
      1, /* head, first body bytes, length: of the body; credit: response bytes allowed. END: no more body */
  PENSTOCK_BODY = 2,   /* body. END: the last of it */
  PENSTOCK_CREDIT = 3, /* credit: that many response bytes more */
  PENSTOCK_CANCEL = 4, /* status: why (penstock_cancel_reason). The worker still has to end the exchange */
  PENSTOCK_PING = 5,   /* to be answered with the same serial */
  PENSTOCK_STOP = 6,   /* no new requests follow: finish what is inside, then leave */
  /* From version 3 on: a request of a route that names this pool as a filter, at one of three moments. Each opens an
   * exchange as REQUEST does, always with END: a filter is shown no body of the request. */
  PENSTOCK_FILTER_REQUEST = 7,  /* head, credit: as of REQUEST. To be ended by VERDICT, or by an answer of its own */
  PENSTOCK_FILTER_RESPONSE = 8, /* head; status, body: of the answer, a penstock_response_head. VERDICT ends it */
  PENSTOCK_FILTER_LOG = 9       /* the same; length: body bytes sent, offset: microseconds it took. VERDICT ends it */
};

/* From the worker. */
enum penstock_to_server {
  PENSTOCK_READY = 16,    /* requests may come; status: the version that is spoken from here on */
  PENSTOCK_HEAD = 17,     /* status, head, first body bytes, length: of the body if known, ttl_ms */
  PENSTOCK_DATA = 18,     /* body bytes */
  PENSTOCK_FILE = 19,     /* body: a path below what the pool may send; offset and length of the part */
  PENSTOCK_ENTRY = 20,    /* body: the path of a URL of the same site whose cached body is to be put here */
  PENSTOCK_EXECUTE = 21,  /* body: the target of another request that answers in place of this one */
  PENSTOCK_CONSUMED = 22, /* credit: that many PENSTOCK_BODY more have been read, their chunks are free */
  PENSTOCK_ABORT = 23,    /* the exchange ends here without a whole answer. Always with END */
  PENSTOCK_PONG = 24,
  PENSTOCK_LOG = 25, /* body: text for the log record of this exchange */
  /* From version 3 on. head: a penstock_verdict; status: in place of the answer's own, of FILTER_RESPONSE; 0: that.
   * Always with END */
  PENSTOCK_VERDICT = 26
};

enum penstock_flag {
  PENSTOCK_END = 1u /* last of this direction of the exchange */
};

enum penstock_cancel_reason {
  PENSTOCK_CANCEL_CLIENT_GONE = 1,
  PENSTOCK_CANCEL_TIMEOUT = 2,
  PENSTOCK_CANCEL_STOPPING = 3
};

/* One cache line. Fields that a kind does not use are 0. `at` counts bytes from the start of the writer's arena. */
struct penstock_descriptor {
  uint8_t kind;
  uint8_t flags;
  uint16_t status;
  uint16_t slot; /* of the exchange: below exchanges_max */
  uint16_t reserved0;
  uint32_t generation; /* of the slot: another one for each exchange */
  union {
    uint32_t credit;
    uint32_t ttl_ms; /* of HEAD: how long the cache may keep the answer; 0: as its header fields say */
  };
  uint32_t head_at;
  uint32_t head_bytes;
  uint32_t body_at;
  uint32_t body_bytes;
  uint64_t length; /* PENSTOCK_LENGTH_UNKNOWN: not known beforehand */
  uint64_t offset;
  uint64_t serial; /* of the request, as logs and `penstock requests` show it */
  uint64_t reserved1;
};

/* A text inside a head block: `at` counts from the start of the block. A NUL follows each, outside of `bytes`. */
struct penstock_text {
  uint32_t at;
  uint32_t bytes;
};

struct penstock_field {
  struct penstock_text name; /* of a request: as it came */
  struct penstock_text value;
};

/* A request's head, parsed. Fields follow at fields_at, then the texts. */
struct penstock_request_head {
  uint32_t bytes; /* of the whole block */
  uint16_t version_major;
  uint16_t version_minor;
  uint32_t field_count;
  uint32_t fields_at;
  uint16_t remote_port; /* 0: a unix socket */
  uint16_t server_port;
  uint8_t secure;    /* over TLS */
  uint8_t has_query; /* "/a?" has one, and it is empty */
  uint8_t client;    /* what is known of the client: penstock_client_state */
  uint8_t reserved;
  struct penstock_text method;
  struct penstock_text target; /* as it came */
  struct penstock_text path;   /* decoded and canonical, from the site's root; begins with '/' */
  struct penstock_text query;  /* as it came, without '?' */
  struct penstock_text authority;
  struct penstock_text route_prefix; /* the part of `path` that brought the request here */
  struct penstock_text remote_address;
  struct penstock_text server_address;
  struct penstock_text site;
};

/* What a request's `client` says of the certificate that the client showed in its TLS handshake. */
enum penstock_client_state {
  PENSTOCK_CLIENT_NOT_ASKED = 0, /* the site asks for none; or the server is older than this */
  PENSTOCK_CLIENT_NONE = 1,      /* it was asked, and showed none */
  PENSTOCK_CLIENT_VERIFIED = 2 /* one that the site trusts: a penstock_client_certificate lies right behind the head */
};

/* Behind a penstock_request_head with PENSTOCK_CLIENT_VERIFIED; the fields follow behind it, at fields_at. */
struct penstock_client_certificate {
  struct penstock_text subject;     /* whom it names: RFC 2253 */
  struct penstock_text fingerprint; /* its SHA-256 in hexadecimal, lower case */
};

/* A response's head. Fields follow at fields_at, then the texts. */
struct penstock_response_head {
  uint32_t bytes;
  uint32_t field_count;
  uint32_t fields_at;
  uint32_t policy_at; /* from version 2 on: of a penstock_policy in this block; 0: none */
};

/* From version 2 on: what the response cache may do with the answer, beside ttl_ms of its descriptor. Where there is
 * one, the answer's header fields say nothing to this cache. */
struct penstock_policy {
  uint32_t flags;         /* PENSTOCK_POLICY_* */
  uint32_t revalidate_ms; /* after its lifetime it still answers, for so long, while one request fetches a new one */
  uint32_t error_ms;      /* and for so long where none can be had: the pool is down, or answers 500, 502, 503, 504 */
  uint16_t vary_count;    /* request fields that select this answer: names without a repetition */
  uint16_t tag_count;     /* names under which it can be purged: visible ASCII without a comma */
  uint32_t texts_at;      /* a penstock_text for each vary name, then one for each tag */
  uint32_t reserved;
};

enum penstock_policy_flag {
  PENSTOCK_POLICY_NEVER = 1u /* not to be kept, whatever else is said */
};

/* From version 3 on: what a filter says. Edits follow at edits_at, then the texts. They are made one after the other:
 * of FILTER_REQUEST to the request's fields, of FILTER_RESPONSE to the answer's, of FILTER_LOG there are none. */
struct penstock_verdict {
  uint32_t bytes;      /* of the whole block: PENSTOCK_HEAD_BYTES at most */
  uint32_t edit_count; /* PENSTOCK_HEAD_FIELDS at most */
  uint32_t edits_at;
  uint32_t wants;              /* of FILTER_REQUEST: what it is to be asked later: PENSTOCK_WANTS_* */
  struct penstock_text target; /* of FILTER_REQUEST: to be served in place of the request's; empty: that stays */
  struct penstock_text log;    /* for the request's record; empty: nothing */
};

enum penstock_wants { PENSTOCK_WANTS_RESPONSE = 1u, PENSTOCK_WANTS_LOG = 2u };

struct penstock_edit {
  uint32_t what; /* PENSTOCK_EDIT_* */
  uint32_t reserved;
  struct penstock_text name;
  struct penstock_text value; /* empty of REMOVE */
};

enum penstock_edit_what {
  PENSTOCK_EDIT_SET = 1,   /* in place of all fields of that name */
  PENSTOCK_EDIT_ADD = 2,   /* behind all others */
  PENSTOCK_EDIT_REMOVE = 3 /* all fields of that name */
};
