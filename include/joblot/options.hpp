// SPDX-License-Identifier: BSL-1.0
// The options of a call, and the small types that make them readable: `{.n_jobs = 2, .timeout = 5s}`.
#pragma once

#include <joblot/progress/event.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

namespace joblot {

class backend; // backend/backend.hpp

/// Defaults that a `parallel_backend` guard carries besides the backend, and what a registered factory is given.
struct backend_options {
    std::optional<int> n_jobs{};                ///< for calls that do not say theirs
    std::optional<int> verbose{};               ///< likewise
    std::optional<int> inner_max_num_threads{}; ///< threads of OpenMP and its kin inside a task
    std::string address{};                      ///< where a remote backend's cluster is, e.g. "tcp://10.0.0.1:8786"
};

/// A typed description of a backend, such as `threads{.n_jobs = 4}`: anything with a `make()` that gives the backend.
/// Its optional members `n_jobs`, `verbose` and `inner_max_num_threads` become defaults of the guard or call.
template <class D>
concept backend_description = requires(const D& d) {
    { d.make() } -> std::convertible_to<std::shared_ptr<backend>>;
};

/// Names a backend: by a description (`threads{}`), by a registered name (`"threads"`, or `"name:address"`),
/// or as an object of a class derived from `joblot::backend`. Default-constructed: no choice.
class backend_choice {
public:
    backend_choice() = default;
    template <class B>
        requires std::convertible_to<std::shared_ptr<B>, std::shared_ptr<backend>>
    backend_choice(std::shared_ptr<B> engine) : engine_(std::move(engine)) {}
    backend_choice(std::string name) : name_(std::move(name)) {}
    backend_choice(const char* name) : name_(name) {}
    template <backend_description D>
    backend_choice(const D& description) : engine_(description.make()) {
        if constexpr (requires { defaults_.n_jobs = description.n_jobs; }) defaults_.n_jobs = description.n_jobs;
        if constexpr (requires { defaults_.verbose = description.verbose; }) defaults_.verbose = description.verbose;
        if constexpr (requires { defaults_.inner_max_num_threads = description.inner_max_num_threads; })
            defaults_.inner_max_num_threads = description.inner_max_num_threads;
    }

    /// Whether nothing was chosen.
    [[nodiscard]] bool empty() const noexcept { return !engine_ && name_.empty(); }
    /// The backend itself, or null where it was chosen by name.
    [[nodiscard]] const std::shared_ptr<backend>& engine() const noexcept { return engine_; }
    /// The name, or "" where the backend itself was given.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    /// What the description said besides the backend.
    [[nodiscard]] const backend_options& defaults() const noexcept { return defaults_; }

private:
    std::shared_ptr<backend> engine_;
    std::string name_;
    backend_options defaults_;
};

/// Tag: let the dispatcher adapt the batch size to measured task durations.
struct auto_batch_t {};
inline constexpr auto_batch_t auto_batch{};

/// How many tasks are handed to a worker at a time: `auto_batch`, or a number >= 1.
class batch_size_option {
public:
    constexpr batch_size_option(auto_batch_t = {}) noexcept {}
    template <std::integral N>
    constexpr batch_size_option(N tasks) noexcept
        : tasks_(std::in_range<long long>(tasks) ? static_cast<long long>(tasks)
                                                 : std::numeric_limits<long long>::max()) {}

    /// The number, or nothing for `auto_batch`.
    [[nodiscard]] constexpr std::optional<long long> tasks() const noexcept { return tasks_; }

private:
    std::optional<long long> tasks_;
};

/// `pre_dispatch = per_job(k)`: read ahead k batches for each worker.
struct per_job {
    double batches;
    constexpr explicit per_job(double k) noexcept : batches(k) {}
};

/// Tag: read the whole input before the first task starts.
struct everything_t {};
inline constexpr everything_t everything{};

/// How far the input range may be read ahead of the completed tasks (for generators: ahead of the reader):
/// `per_job(k)` batches, a number of tasks >= 1, or `everything`.
class pre_dispatch_option {
public:
    constexpr pre_dispatch_option(per_job k = per_job(2)) noexcept : batches_per_job_(k.batches) {}
    constexpr pre_dispatch_option(everything_t) noexcept : everything_(true) {}
    template <std::integral N>
    constexpr pre_dispatch_option(N tasks) noexcept
        : tasks_(std::in_range<long long>(tasks) ? static_cast<long long>(tasks)
                                                 : std::numeric_limits<long long>::max()) {}

    [[nodiscard]] constexpr bool is_everything() const noexcept { return everything_; }
    /// The number of tasks, or nothing where it was given in batches.
    [[nodiscard]] constexpr std::optional<long long> tasks() const noexcept { return tasks_; }
    /// Batches for each worker; meaningful where the two above are not set.
    [[nodiscard]] constexpr double batches_per_job() const noexcept { return batches_per_job_; }

private:
    bool everything_ = false;
    std::optional<long long> tasks_;
    double batches_per_job_ = 2;
};

/// A time limit: none, or any `std::chrono` duration (saturated to the 292 years that nanoseconds can hold).
class time_limit {
public:
    constexpr time_limit() noexcept = default;
    template <class Rep, class Period>
    constexpr time_limit(std::chrono::duration<Rep, Period> d) noexcept {
        using seconds = std::chrono::duration<long double>;
        using std::chrono::nanoseconds;
        if (seconds(d) >= seconds(nanoseconds::max()))
            limit_ = nanoseconds::max();
        else if (seconds(d) > seconds::zero()) // a positive limit stays positive: 0.1 ns is not "no time at all"
            limit_ = std::max(nanoseconds(1), std::chrono::duration_cast<nanoseconds>(d));
        else // refused when the options are checked; NaN ends here too
            limit_ = seconds(d) > seconds(nanoseconds::min()) ? std::chrono::duration_cast<nanoseconds>(d)
                                                              : nanoseconds::zero();
    }

    /// The limit, or nothing.
    [[nodiscard]] constexpr std::optional<std::chrono::nanoseconds> limit() const noexcept { return limit_; }

private:
    std::optional<std::chrono::nanoseconds> limit_;
};

/// `require = sharedmem`: the tasks need the caller's memory, so only backends with shared memory will do.
enum class require { none, sharedmem };
inline constexpr require sharedmem = require::sharedmem;

/// A hint which kind of backend suits the tasks; an explicit backend or an active guard overrides it.
enum class prefer { none, threads, processes };

/// The options of a call. An aggregate for designated initialisers; the order of its members is part of the interface.
/// What is not set takes the active `parallel_backend`'s value, then the default.
struct options {
    /// Workers: n > 0 that many; -1 all CPUs; -k all + 1 - k, at least 1. Default: all. 0 is refused.
    std::optional<int> n_jobs{};
    /// A backend for this call alone. Default: the active one.
    backend_choice backend{};
    /// joblib's verbosity: 0 nothing, up to 10 more and more lines, above 10 one for each completion. Default: 0.
    std::optional<int> verbose{};
    /// Called after each batch, by one thread at a time; what it throws is ignored. `progress_bar()` is one.
    std::function<void(const progress_event&)> progress{};
    /// Tasks per dispatch. Default: adapts to measured durations.
    batch_size_option batch_size{};
    /// How far the input is read ahead. Default: two batches for each worker.
    pre_dispatch_option pre_dispatch{};
    /// Limit for each task, from the moment it starts on its worker. Default: none.
    time_limit timeout{};
    /// How many more times a task is tried after it failed. Default: 0.
    int retries = 0;
    /// When it fires, nothing more starts and the call throws `cancelled`.
    std::stop_token stop{};
    /// What the backend must offer.
    joblot::require require = joblot::require::none;
    /// What the backend had better offer.
    joblot::prefer prefer = joblot::prefer::none;
    /// Name of the whole call in progress. Default: the first task's label.
    std::string label{};
};

namespace detail {

// Cold: kept out of the way of calls whose options are fine.
[[noreturn, gnu::cold, gnu::noinline]] inline void refuse(const char* field, const std::string& value,
                                                          const char* way_out) {
    throw std::invalid_argument("joblot: " + std::string(field) + " = " + value + ": " + way_out);
}
[[noreturn, gnu::cold, gnu::noinline]] inline void refuse(const char* field, long long value, const char* way_out) {
    refuse(field, std::to_string(value), way_out);
}

inline void check_n_jobs(const std::optional<int>& n) {
    if (n && *n == 0) refuse("n_jobs", 0, "no workers would do no work; give 1 or more, or -1 for all CPUs");
}
inline void check_verbose(const std::optional<int>& verbose) {
    if (verbose && *verbose < 0) refuse("verbose", *verbose, "give 0 for silence, or a higher level");
}

inline void check_defaults(const backend_options& o) {
    check_n_jobs(o.n_jobs);
    check_verbose(o.verbose);
    if (o.inner_max_num_threads && *o.inner_max_num_threads < 1)
        refuse("inner_max_num_threads", *o.inner_max_num_threads, "give 1 or more");
}

/// @throws std::invalid_argument naming the first option that makes no sense, its value, and what would.
inline void check(const options& o) {
    check_n_jobs(o.n_jobs);
    check_verbose(o.verbose);
    check_defaults(o.backend.defaults());
    if (const auto b = o.batch_size.tasks(); b && *b < 1)
        refuse("batch_size", *b, "give 1 or more tasks, or auto_batch");
    if (const auto p = o.pre_dispatch.tasks(); p && *p < 1)
        refuse("pre_dispatch", *p, "give 1 or more tasks, per_job(k) batches, or everything");
    if (!o.pre_dispatch.is_everything() && !(o.pre_dispatch.batches_per_job() > 0))
        refuse("pre_dispatch", "per_job(" + std::to_string(o.pre_dispatch.batches_per_job()) + ")",
               "give more than 0 batches for each worker");
    if (const auto t = o.timeout.limit(); t && *t <= std::chrono::nanoseconds::zero())
        refuse("timeout", std::to_string(std::chrono::duration<double>(*t).count()) + " s",
               "give a positive duration, or leave it out for no limit");
    if (o.retries < 0) refuse("retries", o.retries, "give 0 or more");
    if (o.require == require::sharedmem && o.prefer == prefer::processes)
        refuse("prefer", "processes", "processes share no memory, which require = sharedmem asks for");
}

} // namespace detail

} // namespace joblot
