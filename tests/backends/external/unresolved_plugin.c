#include "kvferry/plugin_abi.h"

/* A plugin that was linked without the library of its store. */
const kvferry_plugin* acme_connect(void);

KVFERRY_PLUGIN_EXPORT const kvferry_plugin* kvferry_plugin_query(void) { return acme_connect(); }
