#pragma once

#include <vector>

#include "tools/doctor/doctor.h"

namespace kvferry {

/// The finding that says whether two processes of this host have any path to one another.
inline constexpr const char* kPathSubject = "path on this host";

Finding probe_processor();
Finding probe_memory();
Finding probe_huge_pages();
/// May one process read another's memory (what CMA needs)? Tries it on a child.
Finding probe_process_reads();
Finding probe_locked_memory();
Finding probe_open_files();
Finding probe_shared_memory();
/// One finding per class of peer that a transport could serve, one for device memory, and
/// kPathSubject.
std::vector<Finding> probe_transports();

}  // namespace kvferry
