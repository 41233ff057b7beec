// A library without kvferry_plugin_query().
extern "C" int not_a_plugin() { return 0; }
