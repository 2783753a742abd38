// SPDX-License-Identifier: BSL-1.0
// Calls that are given something else than tasks: one line for each, which says what to write.
#include <joblot/joblot.hpp>

#include <vector>

using joblot::Parallel, joblot::delayed;

int square(int x);

int square(int x) { return x * x; }

int main() {
    const Parallel p;
    const auto task = delayed(square)(1);
    const std::vector<int> numbers{1, 2, 3};
    p(task);
#ifndef JOBLOT_FIXED
    p({task, task});                             // error: joblot: a list in braces is no range
    p.map(square, {1, 2, 3});                    // error: joblot: a list in braces is no range
    p(delayed(square));                          // error: joblot: delayed\(f\) is no task before it is called
    p(square(3));                                // error: joblot: this is neither a task nor a range of tasks
    const auto [a, b] = p(square(1), square(2)); // error: joblot: these are not all tasks
    p(square, numbers);                          // error: joblot: .* map\(f, range\) instead of \(f, range\)
    for (auto [i, x] : p.generator_unordered(square)) {
    } // error: joblot: this is neither a task nor a range of tasks
    p.outcomes(task, task);                // error: joblot: this call takes one range of tasks
    p.generator(square, numbers);          // error: joblot: this call takes one range of tasks
    p.map(square);                         // error: joblot: map takes the function first
    p.map(delayed(square), numbers);       // error: joblot: map makes the tasks itself
    static_cast<void>(delayed(square, 3)); // error: joblot: arguments go into parentheses of their own
#endif
}
