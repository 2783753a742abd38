// SPDX-License-Identifier: BSL-1.0
// A program with a warm pool ends by returning from main.

#include "program.hpp"

int main() {
    program::watchdog();
    return program::call() ? 0 : 1;
}
