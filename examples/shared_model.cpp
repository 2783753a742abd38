// SPDX-License-Identifier: BSL-1.0
// A large table that all workers read in place. With worker processes there is one copy for all of them, as the
// system's own books show: their proportional set sizes, in which memory that k processes share counts as 1/k for each.
#include "cli.hpp"

#include <joblot/joblot.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

using joblot::delayed, joblot::Parallel;
namespace views = std::views;

/// Numbers from 0 to 1 in no order: stands for a model's weights, an index, a price history.
std::vector<double> make_table(std::size_t size) {
    std::vector<double> table(size);
    std::uint64_t state = 0x9e3779b97f4a7c15;
    for (double& entry : table) {
        state = state * 6364136223846793005 + 1442695040888963407;
        entry = static_cast<double>(state >> 11) * 0x1p-53;
    }
    return table;
}

struct answer {
    std::size_t nearest = 0; ///< where in the table
    double distance = 1;
    pid_t process = 0; ///< who found it
};

/// Looks at every entry. Knows nothing of joblot: a `broadcasted<std::vector<double>>` converts to a span.
answer find_nearest(std::span<const double> table, double wanted) {
    answer best{.process = ::getpid()};
    for (std::size_t i = 0; i != table.size(); ++i) {
        const double distance = std::abs(table[i] - wanted);
        if (distance < best.distance) {
            best.nearest = i;
            best.distance = distance;
        }
    }
    return best;
}

/// What the kernel says about the memory of a process, in MB; 0 of a process that has ended.
struct memory_use {
    double resident = 0, proportional = 0, shared = 0; ///< shared: the part of `proportional` that is shared memory
};

memory_use memory_of(pid_t process) {
    const std::string path = "/proc/" + std::to_string(process) + "/smaps_rollup";
    std::ifstream file(path);
    memory_use use;
    std::string word;
    while (file >> word) {
        double kib = 0;
        if (word == "Rss:" && file >> kib) use.resident = kib * 1024 / 1e6;
        if (word == "Pss:" && file >> kib) use.proportional = kib * 1024 / 1e6;
        if (word == "Pss_Shmem:" && file >> kib) use.shared = kib * 1024 / 1e6;
    }
    return use;
}

void print_row(const std::string& who, const memory_use& use) {
    std::cout << std::left << std::setw(16) << who << std::right << std::fixed << std::setprecision(1) << std::setw(10)
              << use.resident << std::setw(14) << use.proportional << std::setw(22) << use.shared << '\n';
}

/// Prints the memory of this process and of the workers.
void report_memory(const std::set<pid_t>& workers, double table_size) {
    const memory_use own = memory_of(::getpid());
    if (own.resident == 0)
        throw std::runtime_error("/proc/self/smaps_rollup says nothing: no Linux, or one before 5.4?");
    std::cout << "process           resident  proportional  of it shared memory  (MB)\n";
    print_row("this one", own);
    double shared = 0;
    int running = 0;
    for (const pid_t worker : workers) {
        const memory_use use = memory_of(worker);
        if (use.resident == 0) continue; // ended meanwhile: a cluster's worker ends a process that has nothing to do
        shared += use.shared;
        ++running;
        print_row("worker " + std::to_string(worker), use);
    }
    if (workers.empty())
        std::cout << "no other process: the tasks read the table where it was made\n";
    else
        std::cout << running << " workers share " << shared << " MB: " << shared / table_size << " times the table\n";
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    int megabytes = 1000, queries = 8;
    cli::command_line cli("Searches a table that all workers read in place, and shows how much memory they have.");
    cli.backend = "processes";
    cli.option("--megabytes", "N", megabytes, "size of the table", 1, 1'000'000);
    cli.option("--queries", "N", queries, "how many tasks read it from end to end", 1, 10'000);
    return cli.run(argc, argv, [&] {
        Parallel parallel({.n_jobs = cli.n_jobs, .backend = cli.backend, .batch_size = 1});
        const std::size_t entries = static_cast<std::size_t>(megabytes) * 1'000'000 / sizeof(double);
        const auto table = joblot::broadcast(make_table(entries)); // the handle may be copied; the table is not

        const std::vector<answer> answers = parallel(views::iota(0, queries) | views::transform([&](int i) {
                                                         return delayed(find_nearest)(table, (i + 0.5) / queries);
                                                     }));

        std::set<pid_t> workers;
        std::cout << std::fixed << std::setprecision(4);
        for (std::size_t i = 0; i != answers.size(); ++i) {
            std::cout << "query " << i << ": entry " << answers[i].nearest << " of " << entries << '\n';
            if (answers[i].process != ::getpid()) workers.insert(answers[i].process);
        }
        report_memory(workers, megabytes);
    });
}
