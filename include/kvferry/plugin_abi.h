/* Storage backends that are built apart from kvferry: the boundary between the two, in plain C.
 *
 * A plugin is a shared library that exports kvferry_plugin_query(). C++ authors need not read on:
 * kvferry/backend_plugin.hpp has a class to inherit from. docs/plugin-author.md starts with an
 * empty folder.
 *
 * Versions. Every table starts with its size as its writer knows it, and grows at its end only.
 *   The same major version means that the two fit; whoever reads a table looks with KVFERRY_HAS()
 *   whether an entry newer than 1.0 is there. All entries below are of 1.0. Structs without a
 *   size never change within a major version.
 *
 * Threads. kvferry calls an instance from one thread that belongs to it, one call at a time, from
 *   create() to destroy(). The entries of kvferry_host may be called from any thread, also from
 *   within a call, and never wait for anything. A call that blocks delays what this instance is
 *   asked next, and nobody else.
 *
 * Items. A call brings items. Each is answered once by host->complete(), in any order, during the
 *   call or later. All that an item points to stays valid until then, and no longer: completing
 *   says that the plugin touches nothing of the item any more. An array of items is valid during
 *   the call only. An item whose deadline has passed has ended for whoever asked, but its memory
 *   is held until the plugin completes it; a plugin that holds too much of it gets nothing new.
 *
 * Memory. Each side frees what it allocated. A get is filled into memory that the host gives.
 *
 * Errors. Outcomes and texts, as below. No exception and no longjmp leaves either side.
 *
 * Text is UTF-8, ended by a NUL that sizes do not count.
 */
#ifndef KVFERRY_PLUGIN_ABI_H
#define KVFERRY_PLUGIN_ABI_H

#include <stddef.h>
#include <stdint.h>

/* NOLINTBEGIN(readability-identifier-naming): names as C has them */
#ifdef __cplusplus
extern "C" {
#endif

#define KVFERRY_ABI_MAJOR 1
#define KVFERRY_ABI_MINOR 0

/* Whether the table of `type` at `table` is long enough to have `field`. */
#define KVFERRY_HAS(table, type, field) \
  ((table)->size >= offsetof(type, field) + sizeof((table)->field))

#define KVFERRY_PLUGIN_EXPORT __attribute__((visibility("default")))

/* NOLINTBEGIN(readability-identifier-naming): the names of C, with our prefix. */

/* How an item ended. Numbers above 0 are errors: kvferry::StatusCode, which says when to use
 * which. Others than these count as KVFERRY_INTERNAL. */
typedef int32_t kvferry_outcome;
enum {
  KVFERRY_NO = -1, /* not held; not done. Not an error. */
  KVFERRY_OK = 0,  /* held, stored, filled, removed, pinned, closed */
  KVFERRY_CANCELLED = 1,
  KVFERRY_INVALID_ARGUMENT = 2,
  KVFERRY_DEADLINE_EXCEEDED = 3,
  KVFERRY_NOT_FOUND = 4, /* of a file or a server; a chunk that is not held is KVFERRY_NO */
  KVFERRY_ALREADY_EXISTS = 5,
  KVFERRY_RESOURCE_EXHAUSTED = 6, /* full */
  KVFERRY_FAILED_PRECONDITION = 7,
  KVFERRY_OUT_OF_RANGE = 8,
  KVFERRY_UNIMPLEMENTED = 9,
  KVFERRY_UNAVAILABLE = 10, /* a retry may help */
  KVFERRY_DATA_LOSS = 11,
  KVFERRY_PERMISSION_DENIED = 12,
  KVFERRY_INTERNAL = 13
};

enum { KVFERRY_LOG_DEBUG = 0, KVFERRY_LOG_INFO = 1, KVFERRY_LOG_WARN = 2, KVFERRY_LOG_ERROR = 3 };

/* Names one item. Never used twice by one instance. */
typedef uint64_t kvferry_item;

typedef struct kvferry_text {
  const char* data;
  size_t size;
} kvferry_text;

typedef struct kvferry_bytes {
  const void* data;
  size_t size;
} kvferry_bytes;

typedef struct kvferry_key_item {
  kvferry_item id;
  kvferry_text key; /* model@world@worker@hash@dtype[@tag%value]..., at most 1024 bytes */
} kvferry_key_item;

/* A chunk: a header that is opaque to the plugin, at most 1 MiB, and its payload. Both come back
 * from a get as they were put. */
typedef struct kvferry_chunk_item {
  kvferry_item id;
  kvferry_text key;
  kvferry_bytes header;
  kvferry_bytes payload;
} kvferry_chunk_item;

enum { KVFERRY_FOREGROUND = 0, KVFERRY_PREFETCH = 1 };
enum { KVFERRY_PIN = 0, KVFERRY_UNPIN = 1 };

/* What the items of one call have in common. Valid during the call. */
typedef struct kvferry_call {
  size_t size;
  uint64_t deadline_ns; /* on the clock of now_ns(): nobody waits any longer after that */
  int32_t intent;       /* get: KVFERRY_FOREGROUND, or KVFERRY_PREFETCH: may be left for later */
  int32_t force;        /* remove: pinned chunks, too */
  int32_t pin_op;       /* pin: KVFERRY_PIN or KVFERRY_UNPIN */
  int32_t reserved;
  uint64_t pin_owner; /* pin: pins are counted per owner */
  kvferry_text peer;  /* put: to whom, for backends that send to peers; empty: as configured */
} kvferry_call;

/* What a backend holds, as it last said. */
typedef struct kvferry_usage {
  size_t size;
  uint64_t entries;
  uint64_t bytes;
  uint64_t capacity_bytes; /* 0: not bounded */
  uint64_t pinned_entries;
  uint64_t evicted_entries; /* so far */
} kvferry_usage;

/* What an instance may ask of its host. The first argument is always the table itself; it is valid
 * until destroy() has returned. */
typedef struct kvferry_host kvferry_host;
struct kvferry_host {
  size_t size;
  uint32_t abi_major;
  uint32_t abi_minor;
  void* data; /* the host's own */

  /* Memory for the chunk that answers a get: *header and *payload (aligned to 64), as long as it
   * was when it was put. Once per item. complete(KVFERRY_OK) hands it over, any other outcome
   * gives it back.
   * KVFERRY_RESOURCE_EXHAUSTED: none free now; KVFERRY_INVALID_ARGUMENT: larger than any chunk;
   * KVFERRY_CANCELLED: nobody waits for the item any more; each time: complete the item, with that.
   * KVFERRY_FAILED_PRECONDITION: not an open get, or the second time. */
  kvferry_outcome (*allocate)(const kvferry_host* host, kvferry_item item, size_t header_bytes,
                              size_t payload_bytes, void** header, void** payload);

  /* Ends an item. `message` says what was wrong and what to do; NULL unless an error, and copied.
   * What is not an open item of this instance is counted and changes nothing. */
  void (*complete)(const kvferry_host* host, kvferry_item item, kvferry_outcome outcome,
                   const char* message);

  /* One line; KVFERRY_LOG_... Limited in length and, per second, in number. */
  void (*log)(const kvferry_host* host, int32_t level, const char* line);

  /* Numbers for operators. Names: lower case, digits and '_'; at most 64 of them. */
  void (*add_counter)(const kvferry_host* host, const char* name, uint64_t amount);
  void (*set_gauge)(const kvferry_host* host, const char* name, double value);
  void (*set_usage)(const kvferry_host* host, const kvferry_usage* usage);

  /* Calls task(argument) once on the instance's own thread: soon, or not before when_ns. What still
   * waits when close() is completed runs then, before destroy().
   * KVFERRY_RESOURCE_EXHAUSTED: too many wait; KVFERRY_CANCELLED: close() was completed. */
  kvferry_outcome (*post)(const kvferry_host* host, void (*task)(void*), void* argument);
  kvferry_outcome (*post_at)(const kvferry_host* host, uint64_t when_ns, void (*task)(void*),
                             void* argument);

  /* Monotonic; comparable with deadlines and when_ns only. */
  uint64_t (*now_ns)(const kvferry_host* host);

  /* The instance's own settings: external_backend.<name>.<key> of the configuration. NULL if it is
   * not set. setting_at() goes through all of them; 0 past the last. Valid as long as the table. */
  const char* (*setting)(const kvferry_host* host, const char* key);
  int32_t (*setting_at)(const kvferry_host* host, size_t index, const char** key,
                        const char** value);
};

/* An instance: the plugin's own. */
typedef struct kvferry_instance kvferry_instance;

/* What a backend class promises. */
enum {
  KVFERRY_RETAINS = 1 << 0, /* what was put can be got until it is removed or evicted */
  KVFERRY_PINS = 1 << 1,    /* pinned chunks are not evicted, and not removed but by force */
  KVFERRY_PERSISTS = 1 << 2 /* what was put outlives the process */
};

/* A kind of backend. Constant, and valid for good: libraries are never unloaded. */
typedef struct kvferry_backend_class {
  size_t size;
  const char* name; /* class_name of the configuration */
  uint32_t traits;  /* KVFERRY_RETAINS and so on */
  uint32_t reserved;

  /* An instance for the sink called `name`, or NULL with the reason written to `error`, of
   * `error_size` bytes. May block for a while: start-up waits for it, within a limit. */
  kvferry_instance* (*create)(const kvferry_host* host, const char* name, char* error,
                              size_t error_size);
  /* Frees the instance. After close() was completed, or without a close() if nothing was ever
   * asked of it. No thread of the instance runs any more when this returns. */
  void (*destroy)(kvferry_instance* instance);

  /* KVFERRY_OK: held. KVFERRY_NO: not held. */
  void (*contains)(kvferry_instance* instance, const kvferry_call* call,
                   const kvferry_key_item* items, size_t count);
  /* KVFERRY_OK: every contains and get from now on finds the chunk, all of it. An error:
   * what was held before, or nothing. The chunk takes the place of an older one of its key. */
  void (*put)(kvferry_instance* instance, const kvferry_call* call, const kvferry_chunk_item* items,
              size_t count);
  /* KVFERRY_OK: the memory from allocate() is filled. KVFERRY_NO: not held. */
  void (*get)(kvferry_instance* instance, const kvferry_call* call, const kvferry_key_item* items,
              size_t count);
  /* KVFERRY_OK: was held and is gone. KVFERRY_NO: was not held, or is pinned. */
  void (*remove)(kvferry_instance* instance, const kvferry_call* call,
                 const kvferry_key_item* items, size_t count);
  /* KVFERRY_OK: pinned or unpinned. KVFERRY_NO: not held, or no pin of this owner. May be NULL
   * without KVFERRY_PINS. */
  void (*pin)(kvferry_instance* instance, const kvferry_call* call, const kvferry_key_item* items,
              size_t count);
  /* The last call but destroy(). Completes every open item, then `item`: from then on no memory of
   * the host is touched. An instance that takes too long is left behind with all it holds. */
  void (*close)(kvferry_instance* instance, kvferry_item item);

  /* Optional, may be NULL or past the end. Nobody waits for `item` any more: complete it soon. It
   * may have been completed meanwhile. */
  void (*cancel)(kvferry_instance* instance, kvferry_item item);
} kvferry_backend_class;

/* What a library offers. The first three fields keep their places in every version. */
typedef struct kvferry_plugin {
  size_t size;
  uint32_t abi_major; /* KVFERRY_ABI_MAJOR and _MINOR, as the plugin was compiled */
  uint32_t abi_minor;
  const char* version; /* the plugin's own; for people */
  const kvferry_backend_class* const* classes;
  size_t class_count;
} kvferry_plugin;

/* The symbol that a plugin exports. Constant, valid for good; NULL refuses. May be called often. */
KVFERRY_PLUGIN_EXPORT const kvferry_plugin* kvferry_plugin_query(void);

/* NOLINTEND(readability-identifier-naming) */

#ifdef __cplusplus
}
#endif
/* NOLINTEND(readability-identifier-naming) */

#endif /* KVFERRY_PLUGIN_ABI_H */
