// SPDX-License-Identifier: BSL-1.0
// The two forms of joblot: headers only, or with the engines in a static library (JOBLOT_COMPILED, which the CMake
// targets define). A program has one of them; the linker says so where files differ.
#pragma once

#include <joblot/core/requirements.hpp>

namespace joblot::detail {

// Files of one form share the variable, as it is inline. A linker takes none that is a thread's in one file and not in
// another, and shows its name; only that of clang's -flto is silent. (Assembler as in dask/net/tls.hpp would not be,
// but there it is an error in two files of one form, too.) `used`, as nothing else keeps it. Hidden: a shared library
// may have the other form, for what it shares with the program is the same in both, and the engine is that of who calls
// `init`.
#if defined(JOBLOT_COMPILED)
#define JOBLOT_OF_THIS_FORM thread_local
#else
#define JOBLOT_OF_THIS_FORM
#endif
[[gnu::used]] [[gnu::visibility("hidden")]] inline const JOBLOT_OF_THIS_FORM char
    joblot_is_compiled_and_header_only_here_define_JOBLOT_COMPILED_in_all_files_or_in_none = 0;
#undef JOBLOT_OF_THIS_FORM

} // namespace joblot::detail
