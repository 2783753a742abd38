// SPDX-License-Identifier: BSL-1.0
// What a random number costs: joblot's engine and distributions beside the standard's. Prints medians of turns in
// nanoseconds. For docs/performance.md.
#include <joblot/random.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

namespace {

constexpr int draws = 5'000'000;

template <class Draw>
double nanoseconds(Draw draw) {
    using clock = std::chrono::steady_clock;
    const auto begin = clock::now();
    double sum = 0;
    for (int k = 0; k != draws; ++k) sum += static_cast<double>(draw());
    volatile double result = sum;
    static_cast<void>(result);
    return std::chrono::duration<double, std::nano>(clock::now() - begin).count() / draws;
}

double median(std::vector<double>& times) {
    std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
    return times[times.size() / 2];
}

} // namespace

int main() {
    std::mt19937_64 mt(1);
    joblot::philox4x64 philox(1);
    std::uniform_real_distribution<> std_uniform;
    std::normal_distribution<> std_normal;
    std::exponential_distribution<> std_exponential;
    std::uniform_int_distribution<> std_int(0, 999);
    struct pair {
        const char* name;
        std::function<double()> standard, own;
        std::vector<double> standard_times{}, own_times{};
    };
    std::array all{
        pair{"64 bits", [&] { return nanoseconds([&] { return mt() >> 11; }); },
             [&] { return nanoseconds([&] { return philox() >> 11; }); }},
        pair{"uniform in [0, 1)", [&] { return nanoseconds([&] { return std_uniform(mt); }); },
             [&] { return nanoseconds([&] { return joblot::uniform01(philox); }); }},
        pair{"integer, 0 to 999", [&] { return nanoseconds([&] { return std_int(mt); }); },
             [&] { return nanoseconds([&] { return joblot::uniform_int(philox, 0, 999); }); }},
        pair{"normal", [&] { return nanoseconds([&] { return std_normal(mt); }); },
             [&] { return nanoseconds([&] { return joblot::normal(philox); }); }},
        pair{"exponential", [&] { return nanoseconds([&] { return std_exponential(mt); }); },
             [&] { return nanoseconds([&] { return joblot::exponential(philox); }); }},
    };
    for (int turn = 0; turn != 11; ++turn) {
        for (pair& p : all) {
            p.standard_times.push_back(p.standard());
            p.own_times.push_back(p.own());
        }
    }
    std::puts("                     mt19937_64, std   philox4x64, joblot   ratio");
    for (pair& p : all) {
        const double standard = median(p.standard_times);
        const double own = median(p.own_times);
        std::printf("%-20s %12.2f ns %17.2f ns %9.2f\n", p.name, standard, own, own / standard);
    }
}
