// SPDX-License-Identifier: BSL-1.0
// The processes backend: tasks run in worker processes of the program's own executable.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/backend/backend.hpp>
#include <joblot/backend/process_options.hpp>
#include <joblot/cpu_count.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace joblot {

/// How worker processes come to be.
enum class start_method {
    spawn, ///< the executable is started anew; workers are kept for later calls; tasks are sent to them
    fork   ///< a copy of this process for each batch; nothing is sent but results
};

namespace detail {

class processes_backend final : public backend {
public:
    explicit processes_backend(process_options o) : options_(std::move(o)) {}

    [[nodiscard]] std::string name() const override { return "ProcessBackend"; }
    [[nodiscard]] backend_traits traits() const noexcept override {
        using namespace std::chrono_literals;
        return {.shared_memory = false, .can_kill = true, .batch_target = options_.forked ? 50ms : 5ms};
    }
    [[nodiscard]] int effective_n_jobs(int n) const override {
        return std::min(resolve_n_jobs(n, cpu_count()), most_workers);
    }

    void run(job& j) override {
        auto* const run_on_workers = process_engine().load(std::memory_order_acquire);
        if (!run_on_workers) refuse_without_init("worker processes");
        run_on_workers(j, options_);
    }

private:
    static constexpr int most_workers = 1024;

    const process_options options_;
};

} // namespace detail

/// Describes the processes backend, by name `"processes"`, `"loky"` or `"multiprocessing"`: tasks run in worker
/// processes that are kept for later calls. What a task does to its process is felt by nobody else: a crash is a
/// `worker_crashed` for that task, a time limit ends it by force.
///
/// The program must call `joblot::init` first in `main`. With `start_method::spawn` functions, arguments and results
/// must be able to travel (`is_remotable_v`); with `start_method::fork` only results must. Workers of equal
/// descriptions are shared by all calls, nested worker processes are possible one deep, and everything ends with the
/// program.
struct processes {
    number_option n_jobs{};                ///< default for calls that do not say theirs
    number_option inner_max_num_threads{}; ///< OMP_NUM_THREADS and its kin in workers; default: a fair share
    typed_option<joblot::start_method, detail::option_kind::start_method> start_method = joblot::start_method::spawn;
    /// Runs once in each new worker; what it throws is a `backend_error`.
    typed_option<void (*)(), detail::option_kind::worker_init> worker_init{};
    std::size_t max_tasks_per_worker = 0; ///< a worker is replaced after so many tasks; 0: never
    std::size_t memory_limit = 0;         ///< bytes that a worker may allocate; beyond is `std::bad_alloc`; 0: no limit
    std::chrono::milliseconds idle_timeout = std::chrono::minutes(5); ///< a worker ends when unused for so long

    /// The backend object of a description that says nothing.
    JOBLOT_ONE_PER_PROCESS [[nodiscard]] static const std::shared_ptr<backend>& shared() {
        static constinit detail::made_once<const std::shared_ptr<backend>> one;
        return one.get([] { return processes{}.make(); });
    }

    /// @throws std::invalid_argument for an `idle_timeout` that is not positive.
    [[nodiscard]] std::shared_ptr<backend> make() const {
        if (idle_timeout.count() <= 0)
            detail::refuse("idle_timeout", std::to_string(idle_timeout.count()) + " ms", "give a positive duration");
        return std::make_shared<detail::processes_backend>(detail::process_options{
            {worker_init, max_tasks_per_worker, memory_limit, inner_max_num_threads, idle_timeout},
            start_method == joblot::start_method::fork});
    }
};

} // namespace joblot
