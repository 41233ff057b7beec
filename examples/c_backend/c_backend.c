/* The smallest backend that keeps what it gets, in plain C: chunks in memory, up to max_bytes.
 *
 * All calls come on one thread, so nothing here is locked; every item is answered at once. */
#include <kvferry/plugin_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUM_BUCKETS = 4096 };

typedef struct chunk {
  struct chunk* next;
  size_t key_size, header_size, payload_size;
  char bytes[]; /* key, header, payload */
} chunk;

struct kvferry_instance {
  const kvferry_host* host;
  size_t held_bytes, max_bytes;
  uint64_t num_chunks;
  chunk* buckets[NUM_BUCKETS];
};

static size_t size_of(const chunk* c) { return c->key_size + c->header_size + c->payload_size; }

/* The link that points to the chunk of `key`, or the empty one at the end of its bucket. */
static chunk** find(kvferry_instance* self, kvferry_text key) {
  size_t hash = 14695981039346656037u;
  for (size_t i = 0; i < key.size; ++i) hash = (hash ^ (unsigned char)key.data[i]) * 1099511628211u;
  chunk** link = &self->buckets[hash % NUM_BUCKETS];
  while (*link && ((*link)->key_size != key.size || memcmp((*link)->bytes, key.data, key.size))) {
    link = &(*link)->next;
  }
  return link;
}

static void report_usage(const kvferry_instance* self) {
  kvferry_usage usage = {sizeof(usage), self->num_chunks, self->held_bytes, self->max_bytes, 0, 0};
  self->host->set_usage(self->host, &usage);
}

static void answer(const kvferry_instance* self, kvferry_item item, int yes) {
  self->host->complete(self->host, item, yes ? KVFERRY_OK : KVFERRY_NO, NULL);
}

static kvferry_instance* create(const kvferry_host* host, const char* name, char* error,
                                size_t error_size) {
  (void)name;
  const char* max_bytes = host->setting(host, "max_bytes");
  char* end = NULL;
  const unsigned long long limit = max_bytes ? strtoull(max_bytes, &end, 10) : 1ull << 30;
  if (max_bytes && (end == max_bytes || *end != '\0')) {
    snprintf(error, error_size, "max_bytes is '%s'; give a number", max_bytes);
    return NULL;
  }
  kvferry_instance* self = calloc(1, sizeof(*self));
  if (!self) {
    snprintf(error, error_size, "out of memory");
    return NULL;
  }
  self->host = host;
  self->max_bytes = (size_t)limit;
  return self;
}

static void destroy(kvferry_instance* self) {
  for (size_t i = 0; i < NUM_BUCKETS; ++i) {
    while (self->buckets[i]) {
      chunk* next = self->buckets[i]->next;
      free(self->buckets[i]);
      self->buckets[i] = next;
    }
  }
  free(self);
}

static void contains(kvferry_instance* self, const kvferry_call* call,
                     const kvferry_key_item* items, size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i) answer(self, items[i].id, *find(self, items[i].key) != NULL);
}

/* Frees the chunk that `link` points to, if any. */
static void take_out(kvferry_instance* self, chunk** link) {
  chunk* c = *link;
  if (!c) return;
  *link = c->next;
  self->held_bytes -= size_of(c);
  --self->num_chunks;
  free(c);
}

static void put_one(kvferry_instance* self, const kvferry_chunk_item* item) {
  chunk** link = find(self, item->key);
  const size_t size = item->key.size + item->header.size + item->payload.size;
  const size_t freed = *link ? size_of(*link) : 0;
  chunk* c = self->held_bytes - freed + size <= self->max_bytes ? malloc(sizeof(*c) + size) : NULL;
  if (!c) {
    self->host->complete(self->host, item->id, KVFERRY_RESOURCE_EXHAUSTED,
                         "max_bytes is reached; raise it, or remove chunks");
    return;
  }
  take_out(self, link); /* a newer chunk of the same key */
  c->key_size = item->key.size;
  c->header_size = item->header.size;
  c->payload_size = item->payload.size;
  memcpy(c->bytes, item->key.data, c->key_size);
  memcpy(c->bytes + c->key_size, item->header.data, c->header_size);
  memcpy(c->bytes + c->key_size + c->header_size, item->payload.data, c->payload_size);
  c->next = *link;
  *link = c;
  self->held_bytes += size;
  ++self->num_chunks;
  answer(self, item->id, 1);
}

static void put(kvferry_instance* self, const kvferry_call* call, const kvferry_chunk_item* items,
                size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i) put_one(self, &items[i]);
  report_usage(self);
}

static void get(kvferry_instance* self, const kvferry_call* call, const kvferry_key_item* items,
                size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i) {
    const chunk* c = *find(self, items[i].key);
    if (!c) {
      answer(self, items[i].id, 0);
      continue;
    }
    void* header;
    void* payload;
    const kvferry_outcome outcome = self->host->allocate(self->host, items[i].id, c->header_size,
                                                         c->payload_size, &header, &payload);
    if (outcome == KVFERRY_OK) {
      memcpy(header, c->bytes + c->key_size, c->header_size);
      memcpy(payload, c->bytes + c->key_size + c->header_size, c->payload_size);
    }
    self->host->complete(self->host, items[i].id, outcome, "the host gave no memory");
  }
}

static void remove_chunks(kvferry_instance* self, const kvferry_call* call,
                          const kvferry_key_item* items, size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i) {
    chunk** link = find(self, items[i].key);
    const int was_held = *link != NULL;
    take_out(self, link);
    answer(self, items[i].id, was_held);
  }
  report_usage(self);
}

static void close_backend(kvferry_instance* self, kvferry_item item) { answer(self, item, 1); }

static const kvferry_backend_class memory_class = {
    .size = sizeof(memory_class),
    .name = "CMemoryBackend",
    .traits = KVFERRY_RETAINS,
    .create = create,
    .destroy = destroy,
    .contains = contains,
    .put = put,
    .get = get,
    .remove = remove_chunks,
    .close = close_backend,
};

static const kvferry_backend_class* const classes[] = {&memory_class};

static const kvferry_plugin plugin = {sizeof(plugin), KVFERRY_ABI_MAJOR, KVFERRY_ABI_MINOR,
                                      "0.1.0",        classes,           1};

KVFERRY_PLUGIN_EXPORT const kvferry_plugin* kvferry_plugin_query(void) { return &plugin; }
