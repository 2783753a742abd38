// SPDX-License-Identifier: BSL-1.0
// An argument that can only be moved is passed as an lvalue.
// expect: joblot: an argument can only be moved
#include <joblot/joblot.hpp>

#include <memory>
#include <utility>

int value(std::unique_ptr<int> number);

int value(std::unique_ptr<int> number) { return *number; }

int main() {
    auto number = std::make_unique<int>(1);
#ifdef JOBLOT_FIXED
    joblot::Parallel{}(joblot::delayed(value)(std::move(number)));
#else
    joblot::Parallel{}(joblot::delayed(value)(number));
#endif
}
