#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

#include "kvferry/export.h"

namespace kvferry {

/// Why an operation could not do what it was asked to do.
///
/// Outcomes that callers expect (a cache miss, "would block", a shorter prefix) are ordinary
/// values and never a Status.
enum class StatusCode : uint8_t {
  kOk = 0,
  kCancelled,           ///< the caller, or the peer's caller, withdrew the operation
  kInvalidArgument,     ///< the input is wrong whatever the state of the system
  kDeadlineExceeded,    ///< a stated deadline passed first
  kNotFound,            ///< a named thing that must exist (file, backend, model) does not
  kAlreadyExists,       ///< a named thing that must be new exists
  kResourceExhausted,   ///< a bound (pool, queue, credit, file limit) is reached
  kFailedPrecondition,  ///< the system is in a state that does not allow this call
  kOutOfRange,          ///< an index, slot or length lies past its end
  kUnimplemented,       ///< not supported by this build, device or transport
  kUnavailable,         ///< a peer or service is gone; a retry may help
  kDataLoss,            ///< verification failed: bytes are not what their digest says
  kPermissionDenied,    ///< the operating system or the peer refused access
  kInternal,            ///< a bug in kvferry or in a library it trusts
  kDeviceLost,          ///< the CUDA context is dead (sticky error)
};

/// Stable lower-case name of a code, as in logs and JSON ("data_loss").
KVFERRY_EXPORT std::string_view status_code_name(StatusCode code);

/// Which table a native error number belongs to.
enum class ErrorDomain : uint8_t { kNone = 0, kErrno, kCuda, kUcx };

/// Success, or an error that says what was wrong, where, and what to do.
///
/// Success is one null pointer, so returning it costs nothing. Errors are immutable and shared.
///
/// Threads: immutable; copies may be used from any thread.
class [[nodiscard]] KVFERRY_EXPORT Status {
 public:
  Status() noexcept = default;
  Status(StatusCode code, std::string message, const char* file = __builtin_FILE(),
         int line = __builtin_LINE());

  /// An error that carries the number another system gave (errno, ucs_status_t, cudaError_t).
  static Status native(StatusCode code, ErrorDomain domain, int64_t native_code,
                       std::string message, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE());

  bool is_ok() const noexcept { return state_ == nullptr; }
  StatusCode code() const noexcept;
  /// Empty when OK.
  std::string_view message() const noexcept;
  ErrorDomain domain() const noexcept;
  int64_t native_code() const noexcept;

  /// The same error with `context` put before its message; OK stays OK.
  Status with_context(std::string_view context) const;

  /// "data_loss: tile 7 of chunk ..." for people; with source location for logs.
  std::string to_string() const;
  std::string to_string_with_location() const;

  /// Drops an error on purpose; `why` is for the reader of the code.
  void ignore(std::string_view why) const noexcept { (void)why; }

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

/// A value or the Status that explains its absence.
template <typename T>
using Result = tl::expected<T, Status>;

namespace detail {

/// Converts to whatever error type the surrounding function returns.
struct ErrorReturn {
  Status status;
  operator Status() && { return std::move(status); }  // NOLINT(google-explicit-constructor)
  template <typename T>
  operator Result<T>() && {  // NOLINT(google-explicit-constructor)
    return tl::unexpected<Status>(std::move(status));
  }
};

}  // namespace detail

/// An error to return from a function that returns Result<T> or Status.
inline detail::ErrorReturn make_error(StatusCode code, std::string message,
                                      const char* file = __builtin_FILE(),
                                      int line = __builtin_LINE()) {
  return {Status(code, std::move(message), file, line)};
}
inline detail::ErrorReturn make_error(Status status) { return {std::move(status)}; }

}  // namespace kvferry

#define KVFERRY_CONCAT_INNER(a, b) a##b
#define KVFERRY_CONCAT(a, b) KVFERRY_CONCAT_INNER(a, b)

/// Leaves the function with the error of `expr` (a Status), if it is one.
/// Works in functions that return Status or Result<T>.
#define KVFERRY_RETURN_IF_ERROR(expr)                                       \
  do {                                                                      \
    if (::kvferry::Status kvferry_status = (expr); !kvferry_status.is_ok()) \
      return ::kvferry::detail::ErrorReturn{std::move(kvferry_status)};     \
  } while (false)

/// Declares or assigns `lhs` from the value of `expr` (a Result), or leaves with its error.
#define KVFERRY_ASSIGN_OR_RETURN(lhs, expr) \
  KVFERRY_ASSIGN_OR_RETURN_IMPL(KVFERRY_CONCAT(kvferry_result_, __LINE__), lhs, expr)
// NOLINTBEGIN(bugprone-macro-parentheses): `lhs` may be a declaration
#define KVFERRY_ASSIGN_OR_RETURN_IMPL(result, lhs, expr)                         \
  auto result = (expr);                                                          \
  if (!result) return ::kvferry::detail::ErrorReturn{std::move(result).error()}; \
  lhs = std::move(result).value()
// NOLINTEND(bugprone-macro-parentheses)
