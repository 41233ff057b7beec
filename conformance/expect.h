#pragma once

#include <string>
#include <utility>

#include "kvferry/status.h"

namespace kvferry {

/// An error of a contract's case. Codes say nothing here; the message is all.
inline Status contract_broken(std::string what) { return {StatusCode::kInternal, std::move(what)}; }

/// OK if `holds`.
inline Status expect(bool holds, const std::string& what) {
  return holds ? Status() : contract_broken(what);
}

/// For results whose value does not matter.
template <typename T>
Status error_of(const Result<T>& result) {
  return result ? Status() : result.error();
}

}  // namespace kvferry
