// SPDX-License-Identifier: BSL-1.0
// The scoped guard that chooses the backend and defaults for the calls below it, and what is in force without one.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/backend/processes.hpp>
#include <joblot/backend/registry.hpp>
#include <joblot/backend/sequential.hpp>
#include <joblot/backend/threads.hpp>
#include <joblot/core/scope.hpp>
#include <joblot/cpu_count.hpp>
#include <joblot/options.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/privileges.hpp>
#include <joblot/system/visibility.hpp>

#include <concepts>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

/// A backend by its name, the library's own ones included.
inline std::shared_ptr<backend> backend_by_name(std::string_view name, const backend_options& options = {}) {
    backend_registry& registry = backend_registry::instance();
    // Each time, and not once behind a static's guard: a process may fork while another thread holds that.
    registry.set_default("sequential", [](const backend_options&) { return sequential{}.make(); });
    for (const char* threading : {"threads", "threading"})
        registry.set_default(threading, [](const backend_options&) { return threads{}.make(); });
#if defined(__linux__)
    for (const char* process : {"processes", "loky", "multiprocessing"})
        registry.set_default(process, [](const backend_options& o) {
            return processes{.inner_max_num_threads = o.inner_max_num_threads}.make();
        });
#endif
    return registry.make(name, options);
}

/// The backend that was chosen, or null.
inline std::shared_ptr<backend> engine_of(const backend_choice& choice, const backend_options& options = {}) {
    return choice.engine() || choice.empty() ? choice.engine() : backend_by_name(choice.name(), options);
}

/// What the environment sets below any guard: JOBLOT_BACKEND=name[:address] and JOBLOT_N_JOBS. Read at the first use.
struct environment_defaults {
    std::shared_ptr<backend> engine; // null: nothing was set
    std::optional<int> n_jobs;

    JOBLOT_ONE_PER_PROCESS static const environment_defaults& get() {
        static constinit made_once<const environment_defaults> known;
        return known.get(read);
    }

private:
    static environment_defaults read() {
        environment_defaults d;
        if (const char* name = trusted_variable("JOBLOT_BACKEND"); name && *name) d.engine = backend_by_name(name);
        d.n_jobs = n_jobs_from(trusted_variable("JOBLOT_N_JOBS"));
        return d;
    }
    static std::optional<int> n_jobs_from(const char* text) {
        if (!text || !*text) return std::nullopt;
        char* end = nullptr;
        const long n = std::strtol(text, &end, 10);
        if (*end || n == 0 || n < -(1L << 20) || n > (1L << 20))
            throw std::invalid_argument("joblot: JOBLOT_N_JOBS=" + std::string(text) +
                                        " in the environment is not a number of jobs: 1 or more, or -1 for all CPUs");
        return static_cast<int>(n);
    }
};

/// The backend in force where neither guard nor option names one. Inside a task that is the threads backend, whatever
/// the environment says: a nested call stays in its process.
inline const std::shared_ptr<backend>& default_engine(const scope& here) {
    if (!here.in_task) {
        if (const auto& engine = environment_defaults::get().engine) return engine;
    }
    return threads::shared();
}

/// The number of jobs in force where the call does not say, as the user would write it.
inline int default_n_jobs(const scope& here) {
    if (here.n_jobs) return *here.n_jobs;
    if (!here.in_task) return environment_defaults::get().n_jobs.value_or(-1);
    return -1;
}

} // namespace detail

/// While it lives, `Parallel` calls made on its thread use this backend and these defaults. What it does not set stays
/// as the guards around it have it. For this thread only; guards must be destroyed in the reverse order of their
/// construction, which scopes do by themselves.
///
/// @throws std::invalid_argument (constructors) for a value that makes no sense, or an unknown name, listing the known.
class [[nodiscard]] parallel_backend {
public:
    /// @param backend  `threads{.n_jobs = 4}`, `"threads"`, `"name:address"`, or a `std::shared_ptr<joblot::backend>`.
    /// @param defaults Values for the calls below; they go before those of a description.
    [[nodiscard("joblot: a guard without a name ends at once; give it one: parallel_backend "
                "guard{...}")]] explicit parallel_backend(const backend_choice& backend,
                                                          const backend_options& defaults = {})
        : parallel_backend(merged(backend.defaults(), defaults), &backend) {}

    /// Keeps the backend and sets defaults only.
    template <std::same_as<backend_options> Defaults = backend_options> // a template, as {"threads"} names a backend
    [[nodiscard("joblot: a guard without a name ends at once; give it one: parallel_backend "
                "guard{...}")]] explicit parallel_backend(const Defaults& defaults)
        : parallel_backend(defaults, nullptr) {}

    /// Says what the defaults look like where something else is given.
    template <class C, class T, class... Ts>
        requires(std::is_convertible_v<C, backend_choice> &&
                 !std::is_arithmetic_v<std::remove_cvref_t<C>> && // so that {5, 3} is n_jobs and verbose
                 (sizeof...(Ts) > 0 || !std::is_convertible_v<T, backend_options>))
    explicit parallel_backend(C&&, T&&, Ts&&...) : parallel_backend(backend_options{}, nullptr) {
        static_assert(std::is_void_v<T>, "joblot: defaults have names, and braces: parallel_backend guard{\"threads\", "
                                         "{.n_jobs = 4}}");
    }

    parallel_backend(const parallel_backend&) = delete;
    parallel_backend& operator=(const parallel_backend&) = delete;

    ~parallel_backend() { detail::current_scope = outer_; }

private:
    parallel_backend(const backend_options& defaults, const backend_choice* choice)
        : here_(detail::scope_here()), outer_(detail::current_scope) {
        detail::check_defaults(defaults);
        if (choice && choice->empty()) throw std::invalid_argument("joblot: parallel_backend: no backend was named");
        if (choice) here_.engine = detail::engine_of(*choice, defaults);
        if (defaults.n_jobs) here_.n_jobs = defaults.n_jobs;
        if (defaults.verbose) here_.verbose = defaults.verbose;
        if (defaults.inner_max_num_threads) here_.inner_max_num_threads = defaults.inner_max_num_threads;
        detail::current_scope = &here_;
    }

    static backend_options merged(backend_options description, const backend_options& given) {
        if (given.n_jobs) description.n_jobs = given.n_jobs;
        if (given.verbose) description.verbose = given.verbose;
        if (given.inner_max_num_threads) description.inner_max_num_threads = given.inner_max_num_threads;
        if (!given.address.empty()) description.address = given.address;
        return description;
    }

    detail::scope here_;
    const detail::scope* outer_;
};

/// How many workers a call with `n_jobs = n` would have here: what the active backend answers.
/// Without an argument: a call that says nothing about `n_jobs`. A guess for splitting work, not a reservation.
/// @throws std::invalid_argument for 0.
[[nodiscard]] inline int effective_n_jobs(number_option n = {}) {
    detail::check_n_jobs(n);
    const detail::scope& here = detail::scope_here();
    const auto& engine = here.engine ? here.engine : detail::default_engine(here);
    return engine->effective_n_jobs(n ? *n : detail::default_n_jobs(here));
}

} // namespace joblot
