#pragma once

#include <string>

#include "kvferry/backend_context.h"

namespace kvferry {

/// The ThreadStarter of the runtime. The process may end while such a thread still runs: it must
/// touch nothing that a destructor at exit takes away.
///
/// Errors: kResourceExhausted when the system gives no thread.
Status start_detached_thread(const std::string& name, Executor::Task body);

}  // namespace kvferry
