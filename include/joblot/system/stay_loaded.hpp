// SPDX-License-Identifier: BSL-1.0
// Keeps a shared library that has joblot in it loaded until the process ends, whatever `dlclose` is told.
#pragma once

#include <joblot/core/requirements.hpp>

#if defined(__ELF__) && defined(__PIC__) && !defined(__PIE__) // what shared libraries are compiled with
#define JOBLOT_IN_A_LIBRARY 1
#include <dlfcn.h>

namespace joblot::detail {

/// The library that `place` is in will not be unloaded. The helpers of the pool run code of the part of the program
/// that made the first call, tables hold functions of whoever filled them, and the list of task types leads through
/// all libraries: unloaded, they would take the program down at some later call.
inline bool stay_loaded(const void* place) noexcept {
    Dl_info library;
    return ::dladdr(place, &library) && ::dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

// Hidden, whatever the rest is: each library asks for itself, when it is loaded.
[[gnu::visibility("hidden")]] inline const bool stays_loaded = stay_loaded(&stays_loaded);

} // namespace joblot::detail

#endif
