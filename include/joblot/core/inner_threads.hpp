// SPDX-License-Identifier: BSL-1.0
// Caps the OpenMP threads that a task may start on the calling thread, where the program links OpenMP at all.
#pragma once

#if defined(__ELF__) && defined(__GNUC__)
#define JOBLOT_HAS_WEAK_OMP 1
#endif

namespace joblot::detail {

#if defined(JOBLOT_HAS_WEAK_OMP)
// Names of our own for OpenMP's functions: its own names belong to <omp.h>, which may come before or after this and
// declares them as each compiler likes. weakref: null, and harmless, in a program that is not linked with an OpenMP
// runtime; and, unlike a weak declaration, it leaves alone what else in this file calls them.
static void openmp_set_num_threads(int) __attribute__((weakref("omp_set_num_threads")));
static int openmp_get_max_threads() __attribute__((weakref("omp_get_max_threads")));
#endif

/// While it lives, OpenMP regions that this thread opens get at most `limit` threads; afterwards as many as before.
class inner_threads_limit {
public:
    /// @param limit 0: there is none.
    explicit inner_threads_limit([[maybe_unused]] int limit) {
#if defined(JOBLOT_HAS_WEAK_OMP)
        if (!limit || !&openmp_set_num_threads || !&openmp_get_max_threads) return;
        before_ = openmp_get_max_threads();
        openmp_set_num_threads(limit);
#endif
    }
    ~inner_threads_limit() {
#if defined(JOBLOT_HAS_WEAK_OMP)
        if (before_) openmp_set_num_threads(before_);
#endif
    }
    inner_threads_limit(const inner_threads_limit&) = delete;
    inner_threads_limit& operator=(const inner_threads_limit&) = delete;

private:
    int before_ = 0; // 0: nothing was changed
};

} // namespace joblot::detail
