#pragma once

/// Marks what leaves libkvferry.so; everything else is hidden. Goes first in a declaration, or
/// after `class`, `struct` and their [[nodiscard]] (GCC 12 refuses the __attribute__ spelling
/// there).
#define KVFERRY_EXPORT [[gnu::visibility("default")]]
