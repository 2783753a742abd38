// SPDX-License-Identifier: BSL-1.0
// A sum of squares: one thread, OpenMP's reduction, joblot's, joblot with blocks cut by hand, and joblot with one task
// for each number and a sum for each worker. Prints medians, and ratios to OpenMP. For docs/guide/migrating.md.
#include <joblot/joblot.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <numeric>
#include <ranges>
#include <vector>

namespace {

namespace views = std::views;
using joblot::Parallel;

double one_thread(const std::vector<double>& values) {
    double total = 0;
    for (const double v : values) total += v * v;
    return total;
}

double openmp(const std::vector<double>& values) {
    double total = 0;
    const auto n = static_cast<std::ptrdiff_t>(values.size());
#pragma omp parallel for reduction(+ : total)
    for (std::ptrdiff_t i = 0; i < n; ++i)
        total += values[static_cast<std::size_t>(i)] * values[static_cast<std::size_t>(i)];
    return total;
}

double reduce(const std::vector<double>& values) {
    const auto square = [](double v) { return v * v; };
    return Parallel{}.reduce(values | views::transform(joblot::delayed(square)), 0.0, std::plus<>());
}

double blocks(const std::vector<double>& values) {
    constexpr std::size_t block = 1 << 14;
    const auto sum_of_block = [&](std::size_t b) {
        const std::size_t end = std::min((b + 1) * block, values.size());
        double sum = 0;
        for (std::size_t i = b * block; i != end; ++i) sum += values[i] * values[i];
        return sum;
    };
    const std::size_t count = (values.size() + block - 1) / block;
    const std::vector<double> parts = Parallel{}.map(sum_of_block, views::iota(std::size_t{0}, count));
    return std::accumulate(parts.begin(), parts.end(), 0.0);
}

double sum_per_worker(const std::vector<double>& values) {
    std::vector<double> sums(static_cast<std::size_t>(joblot::effective_n_jobs()));
    Parallel{}.map([&](double v) { sums[static_cast<std::size_t>(joblot::this_task::worker_id())] += v * v; }, values);
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

double median_ms(double (*f)(const std::vector<double>&), const std::vector<double>& values) {
    using clock = std::chrono::steady_clock;
    std::vector<double> times;
    for (int run = 0; run != 15; ++run) {
        const auto begin = clock::now();
        volatile double result = f(values);
        static_cast<void>(result);
        times.push_back(std::chrono::duration<double, std::milli>(clock::now() - begin).count());
    }
    std::nth_element(times.begin(), times.begin() + 7, times.end());
    return times[7];
}

} // namespace

int main() {
    std::vector<double> values(10'000'000);
    std::iota(values.begin(), values.end(), 0.5);
    const double reference = median_ms(openmp, values);
    const struct {
        const char* name;
        double (*function)(const std::vector<double>&);
    } cases[] = {{"one thread", one_thread},
                 {"joblot, reduce", reduce},
                 {"joblot, blocks", blocks},
                 {"OpenMP, reduction", openmp},
                 {"joblot, sum per worker", sum_per_worker}};
    for (const auto& c : cases) {
        const double ms = median_ms(c.function, values);
        std::printf("%-24s %8.2f ms  %6.2f x OpenMP\n", c.name, ms, ms / reference);
    }
}
