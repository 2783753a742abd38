// SPDX-License-Identifier: BSL-1.0
// The library `joblot`, for JOBLOT_COMPILED: the engine of worker processes.
#if !defined(JOBLOT_COMPILED)
#error compile all files of the program, and this one, with -DJOBLOT_COMPILED=1
#endif
#include <joblot/init.hpp>
#include <joblot/process/start.hpp>

void joblot::init(int argc, char** argv) { detail::start(argc, argv); }
