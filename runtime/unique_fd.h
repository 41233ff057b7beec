#pragma once

#include "core/unique_fd.h"  // moved to where backends may use it too
