// SPDX-License-Identifier: BSL-1.0
// What `joblot::init` brings into a program, all that worker processes need, is compiled once for all test programs
// (engine.cpp): it is most of what a small one costs.
#pragma once

#include <joblot/init.hpp>

extern template void joblot::init<void>(int, char**);
