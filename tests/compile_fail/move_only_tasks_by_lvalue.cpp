// SPDX-License-Identifier: BSL-1.0
// Tasks that can only be moved, in a container that the call must not consume: it has to be given away.
// expect: joblot: these tasks can only be moved
#include <joblot/joblot.hpp>

#include <memory>
#include <utility>
#include <vector>

int main() {
    auto take = joblot::delayed([](std::unique_ptr<int> p) { return *p; });
    std::vector<decltype(take(std::make_unique<int>(1)))> tasks;
    tasks.push_back(take(std::make_unique<int>(1)));
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const std::vector<int> values = joblot::Parallel()(std::move(tasks));
#else
    [[maybe_unused]] const std::vector<int> values = joblot::Parallel()(tasks);
#endif
}
