// SPDX-License-Identifier: BSL-1.0
// There is no memory for one allocation of the thread that makes a call: for the first one, the second one, and so on
// until the call needs no more. Each such call is right, or throws; what it has registered anywhere is gone with it
// (memory that was given back is overwritten, so whoever looks at it once more does not survive that), and the next
// call is right.

#include "program.hpp"

#include <atomic>
#include <cstring>
#include <new>
#include <numeric>
#include <string>
#include <vector>

#include <malloc.h>

namespace {

thread_local int allocations_left = 0; // 0: no limit
thread_local bool was_refused = false;

void* allocate(std::size_t size, std::size_t alignment) {
    if (allocations_left > 0 && --allocations_left == 0) {
        was_refused = true;
        throw std::bad_alloc();
    }
    void* place = nullptr;
    if (::posix_memalign(&place, std::max(alignment, sizeof(void*)), std::max<std::size_t>(size, 1)) != 0)
        throw std::bad_alloc();
    return place;
}
void give_back(void* place) noexcept {
    if (place) std::memset(place, 0xdd, ::malloc_usable_size(place));
    std::free(place);
}

} // namespace

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* place) noexcept { give_back(place); }
void operator delete(void* place, std::size_t) noexcept { give_back(place); }
void operator delete(void* place, std::align_val_t) noexcept { give_back(place); }
void operator delete(void* place, std::size_t, std::align_val_t) noexcept { give_back(place); }

namespace {

constexpr int tasks = 4;

int triple(int i) { return 3 * i; }

bool is_right(const joblot::options& options, bool as_generator) {
    const auto range = std::views::iota(0, tasks) | std::views::transform(joblot::delayed(triple));
    int next = 0;
    const auto check = [&](int value) { return value == triple(next++); };
    if (!as_generator) {
        const auto values = joblot::Parallel(options)(range);
        return std::ranges::all_of(values, check) && next == tasks;
    }
    for (const int value : joblot::Parallel(options).generator(range))
        if (!check(value)) return false;
    return next == tasks;
}

void without_memory(const joblot::options& options, bool as_generator, const std::string& name) {
    program::watchdog(); // for each
    int failed = 0;
    for (int nth = 1;; ++nth) {
        const std::string when = name + ": allocation " + std::to_string(nth);
        was_refused = false;
        try {
            allocations_left = nth;
            const bool right = is_right(options, as_generator);
            allocations_left = 0;
            program::require(right, when + " failed, and the results are wrong");
        } catch (const std::exception&) { // std::bad_alloc, or what was made of it
            allocations_left = 0;
            ++failed;
        }
        if (!was_refused) break;
        program::require(is_right(options, as_generator), when + " failed, and the next call is wrong");
    }
    std::printf("%s: %d calls failed\n", name.c_str(), failed);
    program::require(failed > 0, name + ": no allocation was ever refused");
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    const joblot::backend_choice spawned = joblot::processes{};
    const joblot::backend_choice forked = joblot::processes{.start_method = joblot::start_method::fork};
    for (const bool as_generator : {false, true}) {
        const std::string how = as_generator ? ", a generator" : "";
        without_memory({.n_jobs = 2, .backend = "threads"}, as_generator, "threads" + how);
        without_memory({.n_jobs = 2, .backend = spawned}, as_generator, "processes" + how);
        without_memory({.n_jobs = 2, .backend = forked}, as_generator, "forked processes" + how);
    }
}
