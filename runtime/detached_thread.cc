#include "runtime/detached_thread.h"

#include <pthread.h>

#include <system_error>
#include <thread>
#include <utility>

namespace kvferry {

Status start_detached_thread(const std::string& name, Executor::Task body) {
  try {
    std::thread([short_name = name.substr(0, 15), body = std::move(body)]() mutable {
      pthread_setname_np(pthread_self(), short_name.c_str());
      body();
    }).detach();
  } catch (const std::system_error& error) {
    return make_error(StatusCode::kResourceExhausted,
                      "no thread for " + name + ": " + error.what() + " (ulimit -u)");
  }
  return Status();
}

}  // namespace kvferry
