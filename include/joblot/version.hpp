// SPDX-License-Identifier: BSL-1.0
// The library's version, for the preprocessor and for programs. CMakeLists.txt reads it from here.
#pragma once

#include <joblot/core/requirements.hpp>

#define JOBLOT_VERSION_MAJOR 0
#define JOBLOT_VERSION_MINOR 1
#define JOBLOT_VERSION_PATCH 0

namespace joblot {

/// The version of these headers, as `"major.minor.patch"` (semantic versioning).
inline constexpr const char* version = "0.1.0";

} // namespace joblot
