/* A plugin of another minor version: tables that are shorter and longer than those of 1.0. */
#include <kvferry/plugin_abi.h>
#include <stdlib.h>

struct kvferry_instance {
  const kvferry_host* host;
};

/* kvferry_host of a later minor version. */
typedef struct later_host {
  kvferry_host of_1_0;
  void (*something_new)(const kvferry_host* host);
} later_host;

static kvferry_instance* create(const kvferry_host* host, const char* name, char* error,
                                size_t error_size) {
  (void)name;
  (void)error;
  (void)error_size;
  const later_host* later = (const later_host*)host;
  /* What the host is too old for is not there; all of 1.0 is. */
  if (host->size >= sizeof(later_host) && later->something_new) later->something_new(host);
  if (!KVFERRY_HAS(host, kvferry_host, setting_at)) return NULL;
  kvferry_instance* self = malloc(sizeof(*self));
  if (self) self->host = host;
  return self;
}

static void destroy(kvferry_instance* self) { free(self); }

static void answer_no(kvferry_instance* self, const kvferry_call* call,
                      const kvferry_key_item* items, size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i)
    self->host->complete(self->host, items[i].id, KVFERRY_NO, NULL);
}

static void put(kvferry_instance* self, const kvferry_call* call, const kvferry_chunk_item* items,
                size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i)
    self->host->complete(self->host, items[i].id, KVFERRY_OK, NULL);
}

/* Never answers: its items time out, and the host would cancel() them. */
static void get(kvferry_instance* self, const kvferry_call* call, const kvferry_key_item* items,
                size_t count) {
  (void)self, (void)call, (void)items, (void)count;
}

static void close_backend(kvferry_instance* self, kvferry_item item) {
  self->host->complete(self->host, item, KVFERRY_OK, NULL);
}

/* kvferry_backend_class of a later minor version. */
typedef struct later_class {
  kvferry_backend_class of_1_0;
  void (*something_new)(kvferry_instance* self);
  void* more[6];
} later_class;

static void never_called(kvferry_instance* self, kvferry_item item) {
  (void)self, (void)item;
  abort();
}

#define TABLE(table_size, table_name, table_cancel)                                           \
  {                                                                                           \
    table_size, table_name, 0, 0, create, destroy, answer_no, put, get, answer_no, answer_no, \
        close_backend, table_cancel                                                           \
  }

/* Ends before cancel(): what lies there is none of its business. */
static const kvferry_backend_class earlier =
    TABLE(offsetof(kvferry_backend_class, cancel), "EarlierBackend", never_called);
static const later_class later = {TABLE(sizeof(later_class), "LaterBackend", NULL), NULL, {NULL}};

static const kvferry_backend_class* const classes[] = {&earlier, &later.of_1_0};
static const kvferry_plugin plugin = {sizeof(plugin), KVFERRY_ABI_MAJOR, 9, "9.9", classes, 2};

KVFERRY_PLUGIN_EXPORT const kvferry_plugin* kvferry_plugin_query(void) { return &plugin; }
