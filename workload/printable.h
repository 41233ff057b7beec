#pragma once

#include "core/printable.h"  // IWYU pragma: export
