#include <kvferry/status.h>
#include <kvferry/version.h>

#include <cstdio>

int main() {
  const kvferry::Status status;
  std::printf("kvferry %s\n", KVFERRY_VERSION_STRING);
  (void)status;
  return 0;
}
