// SPDX-License-Identifier: BSL-1.0
// The threads backend: the calling thread and the process's one pool of helpers.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/backend/backend.hpp>
#include <joblot/cpu_count.hpp>
#include <joblot/dispatch/waker.hpp>
#include <joblot/pool/thread_pool.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

namespace joblot {

namespace detail {

class threads_backend final : public backend {
public:
    [[nodiscard]] std::string name() const override { return "ThreadingBackend"; }

    [[nodiscard]] int effective_n_jobs(int n) const override {
        return std::min(resolve_n_jobs(n, cpu_count()), thread_pool::max_helpers + 1);
    }

    void run(job& j) override {
        const std::size_t useful = std::min(static_cast<std::size_t>(j.n_jobs()), j.tasks_left());
        if (useful > 1) return run_with_helpers(j, static_cast<int>(useful) - 1);
        do j.work(0);
        while (j.wait());
    }

private:
    static void run_with_helpers(job& j, int helpers) {
        // Both stand until the call is over: a helper's slow task must not keep the others from coming back.
        thread_pool::invitation invitation(thread_pool::instance(), j, helpers);
        // Helpers do not wait until a generator's reader has made room. Where the input is at hand nobody need be
        // called.
        std::optional<waker> renewal;
        if (j.tasks_left() == job::none) renewal.emplace(j, [&invitation] { invitation.renew(); });
        do {
            worker w(j, 0);
            while (const batch b = j.claim(w)) {
                if (j.tasks_left() == 0) invitation.withdraw();
                j.run(b, w);
                invitation.ring_if_it_lasts();
            }
        } while (j.wait());
    }
};

} // namespace detail

/// Describes the threads backend, by name `"threads"` or `"threading"`: tasks run on the calling thread and on helpers
/// of one process-wide pool, which is started by the first call, grows to the largest `n_jobs` that was asked for, and
/// is shared by nested and simultaneous calls. At most 1024 workers a call.
struct threads {
    number_option n_jobs{};                ///< default for calls that do not say theirs
    number_option inner_max_num_threads{}; ///< OpenMP threads inside a task, where the program links OpenMP

    [[nodiscard]] std::shared_ptr<backend> make() const { return shared(); }

    /// The one backend object that all descriptions stand for.
    JOBLOT_ONE_PER_PROCESS [[nodiscard]] static const std::shared_ptr<backend>& shared() {
        static constinit detail::made_once<const std::shared_ptr<backend>> one;
        return one.get([] { return std::make_shared<detail::threads_backend>(); });
    }
};

} // namespace joblot
