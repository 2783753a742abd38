// SPDX-License-Identifier: BSL-1.0
// Marks what a process has once, so that its executable and its libraries share it whatever they were compiled with.
#pragma once

#include <joblot/core/requirements.hpp>

#include <version> // for the macro that names the standard library

// With `-fvisibility=hidden` each library would have its own copy of what the marked declarations stand for: a guard
// would not reach the calls of a library, and these would not know that they are made in a task. Of equal symbols that
// can be seen the loader uses one. docs/guide/shared_libraries.md says where it does not.

#if defined(__GNUC__) && !defined(_WIN32)

// Those only may share that agree on the layout of joblot's types. So the symbols carry the version and what else
// decides; a library with other headers inside has its own of everything.
#if defined(_LIBCPP_VERSION)
#define JOBLOT_LAYOUT "joblot_0_1_0_libcpp"
#elif defined(_GLIBCXX_DEBUG)
#define JOBLOT_LAYOUT "joblot_0_1_0_debug"
#else
#define JOBLOT_LAYOUT "joblot_0_1_0"
#endif

/// Before a variable that a process, or each of its threads, has once; or before the function that holds it as a static
/// one. The class around that, if it is a template, needs JOBLOT_ONE_TYPE besides. `tests/support/one_per_process.py`
/// finds static variables that nobody marked.
#define JOBLOT_ONE_PER_PROCESS [[gnu::visibility("default"), gnu::abi_tag(JOBLOT_LAYOUT)]]

/// Behind `class`, for an exception and for what is cast dynamically: where the standard library compares types by
/// address, no library could catch or cast what another one made.
#define JOBLOT_ONE_TYPE [[gnu::visibility("default")]]

#else
#define JOBLOT_ONE_PER_PROCESS
#define JOBLOT_ONE_TYPE
#endif
