// SPDX-License-Identifier: BSL-1.0
// A library without joblot that a program loads, and unloads again. Built twice, with another FACTOR.

extern "C" int plugin_value(int i) { return i * FACTOR; }
