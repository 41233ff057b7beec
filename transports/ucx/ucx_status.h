#pragma once

#include <ucs/type/status.h>

#include <string_view>

#include "kvferry/status.h"

namespace kvferry {

/// What a UCX error means to a caller; keeps UCX's number and text. UCS_OK is OK.
/// `what`: what was being done, with its values.
Status ucx_status(ucs_status_t status, std::string_view what, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE());

}  // namespace kvferry
