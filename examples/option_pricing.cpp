// SPDX-License-Identifier: BSL-1.0
// Prices European call options by Monte Carlo and compares with the Black-Scholes formula. The numbers are the same to
// the last bit on every backend and for any number of workers, for three reasons: a task's random numbers depend on
// the seed and the task's index alone, the size of a task does not depend on the workers, and sums are added in the
// order of the tasks. They are the same with every standard library, too: joblot has distributions of its own.
#include "cli.hpp"
#include "digest.hpp"

#include <joblot/joblot.hpp>
#include <joblot/random.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <numbers>
#include <ranges>
#include <span>
#include <vector>

using joblot::delayed, joblot::Parallel;
namespace views = std::views;

struct call_option {
    double strike;
    double spot = 100, rate = 0.03, volatility = 0.25, years = 1; // rate and volatility per year
};

/// Sums over the discounted pay-offs of some simulated paths.
struct payoff_sums {
    double sum = 0, squares = 0;
};

payoff_sums simulate(const call_option& option, std::int64_t paths, std::uint64_t seed) {
    auto rng = joblot::this_task::rng(seed);
    const double deviation = option.volatility * std::sqrt(option.years);
    const double drift = option.rate * option.years - 0.5 * deviation * deviation;
    const double discount = std::exp(-option.rate * option.years);
    payoff_sums sums;
    for (std::int64_t i = 0; i < paths; ++i) {
        const double price = option.spot * std::exp(drift + deviation * joblot::normal(rng));
        const double payoff = discount * std::max(0.0, price - option.strike);
        sums.sum += payoff;
        sums.squares += payoff * payoff;
    }
    return sums;
}

double black_scholes(const call_option& o) {
    const auto normal_cdf = [](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); };
    const double deviation = o.volatility * std::sqrt(o.years);
    const double d1 = (std::log(o.spot / o.strike) + o.rate * o.years) / deviation + 0.5 * deviation;
    return o.spot * normal_cdf(d1) - o.strike * std::exp(-o.rate * o.years) * normal_cdf(d1 - deviation);
}

/// Prints one line of the table. @return How far the estimate is from the exact price, in standard errors.
double compare(const call_option& option, std::span<const payoff_sums> batches, std::int64_t paths) {
    payoff_sums total;
    for (const payoff_sums& batch : batches) {
        total.sum += batch.sum;
        total.squares += batch.squares;
    }
    const auto n = static_cast<double>(paths);
    const double estimate = total.sum / n;
    const double standard_error = std::sqrt(std::max(0.0, total.squares / n - estimate * estimate) / (n - 1));
    const double exact = black_scholes(option);
    const double difference = (estimate - exact) / standard_error;
    std::cout << std::fixed << std::setprecision(2) << std::setw(7) << option.strike << std::setprecision(6)
              << std::setw(13) << estimate << std::setw(12) << standard_error << std::setw(13) << exact
              << std::setprecision(2) << std::showpos << std::setw(9) << difference << std::noshowpos << '\n';
    return difference;
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    std::int64_t paths = 4'000'000;
    std::uint64_t seed = 42;
    cli::command_line cli("Prices call options by Monte Carlo; exit status 1 if one is beyond 4 standard errors.");
    cli.option("--paths", "N", paths, "simulated paths for each option", std::int64_t{1000},
               std::int64_t{1'000'000'000'000});
    cli.option("--seed", "N", seed, "another seed, other random numbers", std::uint64_t{0});
    return cli.run(argc, argv, [&] {
        constexpr std::int64_t batch_paths = 50'000;
        const std::vector<call_option> options{{80}, {90}, {100}, {110}, {120}, {140}};
        const std::int64_t batches = (paths + batch_paths - 1) / batch_paths; // of each option
        const auto option_count = static_cast<std::int64_t>(options.size());

        const std::vector<payoff_sums> sums = Parallel(
            {.n_jobs = cli.n_jobs, .backend = cli.backend, .progress = joblot::progress_bar(), .label = "batches"})(
            views::iota(std::int64_t{0}, option_count * batches) | views::transform([&](std::int64_t i) {
                const std::int64_t first_path = i % batches * batch_paths;
                const call_option& option = options[static_cast<std::size_t>(i / batches)];
                return delayed(simulate)(option, std::min(batch_paths, paths - first_path), seed);
            }));

        std::cout << " strike     estimate   std error        exact  diff/se\n";
        bool good = true;
        for (std::size_t k = 0; k < options.size(); ++k) {
            const auto count = static_cast<std::size_t>(batches);
            good &= std::abs(compare(options[k], std::span(sums).subspan(k * count, count), paths)) <= 4;
        }
        std::cout << "digest of all sums: " << digest(std::as_bytes(std::span(sums))) << '\n';
        return good ? 0 : 1;
    });
}
