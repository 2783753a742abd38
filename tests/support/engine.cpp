// SPDX-License-Identifier: BSL-1.0
// The engine of worker processes for test programs: see engine.hpp.

#include <joblot/init.hpp>

template void joblot::init<void>(int, char**);
