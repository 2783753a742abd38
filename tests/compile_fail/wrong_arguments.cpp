// SPDX-License-Identifier: BSL-1.0
// `delayed(f)` is called with arguments that `f` does not take.
// expect: joblot: the function cannot be called with these arguments
#include <joblot/joblot.hpp>

#include <string>

int length(const std::string& text);

int length(const std::string& text) { return static_cast<int>(text.size()); }

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] auto task = joblot::delayed(length)("four");
#else
    [[maybe_unused]] auto task = joblot::delayed(length)(4, 5);
#endif
}
