/* The least that a plugin can do, so that what is measured is the way to it and back. */
#include <kvferry/plugin_abi.h>

struct kvferry_instance {
  const kvferry_host* host;
};

static kvferry_instance* create(const kvferry_host* host, const char* name, char* error,
                                size_t error_size) {
  static kvferry_instance instances[64];
  static size_t count;
  (void)name, (void)error, (void)error_size;
  kvferry_instance* self = &instances[count++ % 64];
  self->host = host;
  return self;
}

static void destroy(kvferry_instance* self) { (void)self; }

static void answer(kvferry_instance* self, const kvferry_call* call, const kvferry_key_item* items,
                   size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i) {
    self->host->complete(self->host, items[i].id, KVFERRY_OK, NULL);
  }
}

static void store(kvferry_instance* self, const kvferry_call* call, const kvferry_chunk_item* items,
                  size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i) {
    self->host->complete(self->host, items[i].id, KVFERRY_OK, NULL);
  }
}

static void miss(kvferry_instance* self, const kvferry_call* call, const kvferry_key_item* items,
                 size_t count) {
  (void)call;
  for (size_t i = 0; i < count; ++i) {
    self->host->complete(self->host, items[i].id, KVFERRY_NO, NULL);
  }
}

static void end(kvferry_instance* self, kvferry_item item) {
  self->host->complete(self->host, item, KVFERRY_OK, NULL);
}

/* Answers at once: holds every key, but cannot give it. */
static const kvferry_backend_class answers = {
    .size = sizeof(kvferry_backend_class),
    .name = "Answers",
    .create = create,
    .destroy = destroy,
    .contains = answer,
    .put = store,
    .get = miss,
    .remove = miss,
    .close = end,
};

static void take(kvferry_instance* self, const kvferry_call* call, const kvferry_key_item* items,
                 size_t count) {
  (void)self, (void)call, (void)items, (void)count;
}

static void take_chunks(kvferry_instance* self, const kvferry_call* call,
                        const kvferry_chunk_item* items, size_t count) {
  (void)self, (void)call, (void)items, (void)count;
}

static void ignore_close(kvferry_instance* self, kvferry_item item) { (void)self, (void)item; }

/* Takes everything and never says another word, not even to close. */
static const kvferry_backend_class silent = {
    .size = sizeof(kvferry_backend_class),
    .name = "Silent",
    .traits = KVFERRY_RETAINS,
    .create = create,
    .destroy = destroy,
    .contains = take,
    .put = take_chunks,
    .get = take,
    .remove = take,
    .close = ignore_close,
};

KVFERRY_PLUGIN_EXPORT const kvferry_plugin* kvferry_plugin_query(void) {
  static const kvferry_backend_class* const classes[] = {&answers, &silent};
  static const kvferry_plugin plugin = {
      .size = sizeof(kvferry_plugin),
      .abi_major = KVFERRY_ABI_MAJOR,
      .abi_minor = KVFERRY_ABI_MINOR,
      .version = "0",
      .classes = classes,
      .class_count = 2,
  };
  return &plugin;
}
