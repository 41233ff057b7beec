#pragma once

namespace kvferry {

/// From now on a signal that is about to end the process is first told to `fd`, as the line of a
/// CaseReport: where in the library around `code` it came, if the innermost frames are its own or
/// it called them. Signals that somebody handles already (a sanitizer) are left to them.
///
/// Threads: once, before others are started.
void install_crash_note(int fd, const void* code);

}  // namespace kvferry
