// SPDX-License-Identifier: BSL-1.0
// What the machine can do with no library at all: the ideal that the uneven tasks are compared with.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

namespace bench {

using steady = std::chrono::steady_clock;

inline double seconds_since(steady::time_point start) {
    return std::chrono::duration<double>(steady::now() - start).count();
}

/// Keeps this thread on the n-th of the CPUs that it may use, until it goes out of scope. Without it, a fresh thread
/// shares its maker's core until the scheduler moves one of the two, which takes milliseconds. Linux only.
class pinned {
public:
#ifdef __linux__
    explicit pinned(int n) {
        pthread_getaffinity_np(pthread_self(), sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &before_) && n-- == 0) CPU_SET(cpu, &one);
        if (CPU_COUNT(&one) == 1) pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    }
    ~pinned() { pthread_setaffinity_np(pthread_self(), sizeof before_, &before_); }
    pinned(const pinned&) = delete;
    pinned& operator=(const pinned&) = delete;

private:
    cpu_set_t before_;
#else
    explicit pinned(int) {}
#endif
};

/// Runs `body(worker)` on `workers` bare threads that are all awake and at the start line before the clock starts;
/// returns the seconds until the last one is done. No queue, no wake-up, no hand-out is in the measurement.
template <class F>
double bare_threads_seconds(int workers, F body) {
    std::atomic<int> ready{0}, done{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> others;
    for (int w = 1; w < workers; ++w)
        others.emplace_back([&, w] {
            const pinned core(w);
            ready.fetch_add(1);
            while (!go.load(std::memory_order_acquire)) {
            }
            body(w);
            done.fetch_add(1, std::memory_order_release);
        });
    const pinned core(0);
    while (ready.load() != workers - 1) std::this_thread::yield();
    const auto start = steady::now();
    go.store(true, std::memory_order_release);
    body(0);
    while (done.load(std::memory_order_acquire) != workers - 1) {
    }
    const double seconds = seconds_since(start);
    for (std::thread& thread : others) thread.join();
    return seconds;
}

} // namespace bench
