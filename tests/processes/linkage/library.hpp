// SPDX-License-Identifier: BSL-1.0
// A library whose functions run in worker processes, whichever way it is linked.
#pragma once

#include <vector>

namespace library {

/// For callers to make tasks of.
int triple(int i);

/// Makes a call whose task throws an exception of the library's own. What it is that arrives: its own, or another's.
const char* catches(bool nested);

struct doubler {
    [[nodiscard]] int of(int i) const;
};

/// Makes a call of its own, with a task type that only the library knows.
std::vector<int> squares(int n);

} // namespace library
