#pragma once

#include <functional>

namespace kvferry {

/// Runs `what` inside the next connect() of this process over IPv4, whoever calls it, once the
/// connection stands and before the caller can use it: this executable has a function of that name.
///
/// Threads: any thread.
void after_next_connect(std::function<void()> what);

}  // namespace kvferry
