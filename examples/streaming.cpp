// SPDX-License-Identifier: BSL-1.0
// Finds the record gaps between prime numbers in an endless stream of sieved segments. The tasks have no end and their
// results are large, but they are read one by one, in order, and no more than --ahead of them are ever under way.
#include "cli.hpp"

#include <joblot/joblot.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iostream>
#include <ranges>
#include <vector>

#include <sys/resource.h>

using joblot::delayed, joblot::Parallel;
namespace views = std::views;

constexpr std::uint64_t segment_size = 1'000'000;

/// The primes from `number * segment_size` to the next segment (sieve of Eratosthenes).
std::vector<std::uint64_t> primes_in_segment(std::uint64_t number) {
    const std::uint64_t low = number * segment_size, high = low + segment_size;
    std::uint64_t root = 1;
    while (root * root < high) ++root;
    std::vector<char> small(root + 1, 1), segment(segment_size, 1);
    for (std::uint64_t p = 2; p <= root; ++p) {
        if (!small[p]) continue;
        for (std::uint64_t m = p * p; m <= root; m += p) small[m] = 0;
        for (std::uint64_t m = std::max(p * p, (low + p - 1) / p * p); m < high; m += p) segment[m - low] = 0;
    }
    std::vector<std::uint64_t> primes;
    for (std::uint64_t n = std::max<std::uint64_t>(low, 2); n < high; ++n)
        if (segment[n - low]) primes.push_back(n);
    return primes;
}

/// The most memory that the process has had so far, in MB.
double peak_memory() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6; // Linux counts in KiB
}

/// Reads primes in ascending order and prints each gap that is larger than all before it.
class gap_records {
public:
    void add(std::uint64_t prime) {
        if (last_prime_ != 0 && prime - last_prime_ > largest_gap_) {
            largest_gap_ = prime - last_prime_;
            ++count_;
            std::cout << "gap " << largest_gap_ << " after " << last_prime_ << std::endl; // shown at once
        }
        last_prime_ = prime;
    }
    int count() const { return count_; }

private:
    std::uint64_t last_prime_ = 0, largest_gap_ = 0;
    int count_ = 0;
};

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    int count = 28, ahead = 8;
    cli::command_line cli("Prints the record gaps between consecutive primes, as it finds them.");
    cli.option("--count", "N", count, "stop after this many records");
    cli.option("--ahead", "N", ahead, "how many segments may be ahead of the one that is read");
    return cli.run(argc, argv, [&] {
        const double memory_before = peak_memory();
        std::atomic<std::uint64_t> made = 0; // tasks made so far; counted by the worker that reads the range
        auto endless = views::iota(std::uint64_t{0}) | views::transform([&made](std::uint64_t number) {
                           made = number + 1;
                           return delayed(primes_in_segment)(number);
                       });

        Parallel parallel({.n_jobs = cli.n_jobs, .backend = cli.backend, .pre_dispatch = ahead});
        gap_records records;
        std::uint64_t segments = 0, bytes = 0, most_ahead = 0;
        for (const std::vector<std::uint64_t>& primes : parallel.generator(endless)) {
            ++segments;
            most_ahead = std::max(most_ahead, made - segments);
            bytes += primes.size() * sizeof(std::uint64_t);
            for (const std::uint64_t prime : primes)
                if (records.count() < count) records.add(prime);
            if (records.count() == count) break; // what has not started is dropped
        }
        std::cerr << segments << " segments read, " << static_cast<double>(bytes) / 1e6 << " MB of primes, at most "
                  << most_ahead << " segments ahead of the reader\n"
                  << "peak memory " << memory_before << " MB before, " << peak_memory() << " MB after\n";
    });
}
