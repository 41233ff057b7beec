#include <cstdio>
#include <kvferry/plugin/test_host.hpp>
#include <string>

namespace {

const std::string kKey = "model@1@0@00112233445566778899aabbccddeeff@bfloat16";
int failures = 0;

void expect(bool is_as_expected, const char* what) {
  if (is_as_expected) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  ++failures;
}

bool last_line_has(const kvferry::plugin::TestHost& host, const std::string& text) {
  const auto lines = host.log_lines();
  return !lines.empty() && lines.back().find(text) != std::string::npos &&
         lines.back().find(kKey) != std::string::npos;
}

}  // namespace

int main() {
  kvferry::plugin::TestHost host(kvferry_plugin_query(), "ExternalLogBackend");
  expect(host.log_lines().size() == 1, "says that it is there");

  host.put(kKey, {"header", "payload"});
  expect(last_line_has(host, "Put task"), "logs a put");
  expect(host.counter("logged_put_bytes") == 7, "counts the bytes of a put");

  expect(!host.contains(kKey), "stores nothing");
  expect(last_line_has(host, "Checking contains"), "logs contains");
  expect(!host.get(kKey).has_value(), "finds nothing");
  expect(last_line_has(host, "Get for key"), "logs a get");
  expect(!host.pin(kKey), "pins nothing");
  expect(last_line_has(host, "Pin for key"), "logs a pin");
  expect(!host.unpin(kKey), "has no pin to end");
  expect(last_line_has(host, "Unpin for key"), "logs an unpin");
  expect(!host.remove(kKey), "removes nothing");
  expect(last_line_has(host, "Remove"), "logs a remove");
  return failures == 0 ? 0 : 1;
}
