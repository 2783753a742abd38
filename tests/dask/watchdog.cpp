// SPDX-License-Identifier: BSL-1.0
// The watchdog of the conformance tests, for these tests as well.
#include "../conformance/watchdog.cpp"
