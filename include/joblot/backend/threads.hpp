// SPDX-License-Identifier: BSL-1.0
// The threads backend: the calling thread and the process's one pool of helpers.
#pragma once

#include <joblot/backend/backend.hpp>
#include <joblot/backend/thread_pool.hpp>
#include <joblot/cpu_count.hpp>

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
    /// Renews an invitation whenever a generator's reader has made room: helpers do not wait for that.
    class renewal {
    public:
        renewal(job& j, thread_pool::invitation& invitation) : job_(j.tasks_left() == job::none ? &j : nullptr) {
            if (job_) job_->set_waker([&invitation] { invitation.renew(); });
        }
        ~renewal() {
            if (job_) job_->set_waker(nullptr);
        }
        renewal(const renewal&) = delete;
        renewal& operator=(const renewal&) = delete;

    private:
        job* job_; // null where the input is at hand and nobody need be called
    };

    static void run_with_helpers(job& j, int helpers) {
        // Both stand until the call is over: a helper's slow task must not keep the others from coming back.
        thread_pool::invitation invitation(thread_pool::instance(), j, helpers);
        const renewal renew(j, invitation);
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
    std::optional<int> n_jobs{};                ///< default for calls that do not say theirs
    std::optional<int> inner_max_num_threads{}; ///< OpenMP threads inside a task, where the program links OpenMP

    [[nodiscard]] std::shared_ptr<backend> make() const { return shared(); }

    /// The one backend object that all descriptions stand for.
    [[nodiscard]] static const std::shared_ptr<backend>& shared() {
        // Never destroyed: calls are made from static destructors too.
        static const auto* const one = new std::shared_ptr<backend>(std::make_shared<detail::threads_backend>());
        return *one;
    }
};

} // namespace joblot
