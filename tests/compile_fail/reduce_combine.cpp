// SPDX-License-Identifier: BSL-1.0
// The function that combines does not take what results are.
// expect: joblot: these results are no T
#include <joblot/joblot.hpp>

#include <functional>
#include <vector>

int square(int x);

int square(int x) { return x * x; }

struct bins {
    int counts[4];
};

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const bins all =
        joblot::Parallel{}.reduce(std::vector{joblot::delayed(square)(1)}, bins{}, [](bins& a, const auto& b) {
            if constexpr (requires { b.counts; })
                a.counts[0] += b.counts[0];
            else
                a.counts[0] += b;
        });
#else
    [[maybe_unused]] const bins all = joblot::Parallel{}.reduce(
        std::vector{joblot::delayed(square)(1)}, bins{}, [](bins& a, const bins& b) { a.counts[0] += b.counts[0]; });
#endif
}
