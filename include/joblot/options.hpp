// SPDX-License-Identifier: BSL-1.0
// The options of a call, and the small types that make them readable: `{.n_jobs = 2, .timeout = 5s}`.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/typed_option.hpp>
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
#include <type_traits>
#include <utility>

namespace joblot {

class backend; // backend/backend.hpp

/// Defaults that a `parallel_backend` guard carries besides the backend, and what a registered factory is given.
struct backend_options {
    number_option n_jobs{};                ///< for calls that do not say theirs
    number_option verbose{};               ///< likewise
    number_option inner_max_num_threads{}; ///< threads of OpenMP and its kin inside a task
    /// Where a remote backend's cluster is, e.g. "tcp://10.0.0.1:8786".
    typed_option<std::string, detail::option_kind::address> address{};
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
    template <class T>
    static constexpr bool is_choice() {
        using plain = std::remove_cvref_t<T>;
        if constexpr (std::is_same_v<plain, backend_choice> || backend_description<plain>)
            return true;
        else
            return std::is_convertible_v<T, std::string> || std::is_same_v<plain, std::string_view> ||
                   std::is_convertible_v<T, std::shared_ptr<backend>> || std::is_convertible_v<T, backend_options>;
    }

public:
    backend_choice() = default;
    template <class B>
        requires std::convertible_to<std::shared_ptr<B>, std::shared_ptr<backend>>
    backend_choice(std::shared_ptr<B> engine) : engine_(std::move(engine)) {}
    backend_choice(std::string name) : name_(std::move(name)) {}
    backend_choice(const char* name) : name_(detail::text_given("backend", name)) {}
    template <std::same_as<std::string_view> Text>
    backend_choice(Text name) : name_(name) {}
    template <backend_description D>
    backend_choice(const D& description) : engine_(description.make()) {
        using number = std::optional<int>;
        if constexpr (requires { number(description.n_jobs); }) defaults_.n_jobs = description.n_jobs;
        if constexpr (requires { number(description.verbose); }) defaults_.verbose = description.verbose;
        if constexpr (requires { number(description.inner_max_num_threads); })
            defaults_.inner_max_num_threads = description.inner_max_num_threads;
    }
    template <class T>
        requires(!is_choice<T>())
    backend_choice(T&&) {
        detail::mistyped<detail::option_kind::backend, T>();
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
    constexpr batch_size_option(N tasks) noexcept : tasks_(detail::saturated<long long>(tasks)) {}
    template <class T>
        requires(!std::integral<T> && !std::is_convertible_v<T, auto_batch_t>)
    constexpr batch_size_option(T) noexcept {
        detail::mistyped<detail::option_kind::batch_size, T>();
    }

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
    constexpr pre_dispatch_option(N tasks) noexcept : tasks_(detail::saturated<long long>(tasks)) {}
    template <class T>
        requires(!std::integral<T> && !std::is_convertible_v<T, per_job> && !std::is_convertible_v<T, everything_t>)
    constexpr pre_dispatch_option(T) noexcept {
        detail::mistyped<detail::option_kind::pre_dispatch, T>();
    }

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
    template <class T>
    constexpr time_limit(T) noexcept {
        detail::mistyped<detail::option_kind::time_limit, T>();
    }
    template <class Rep, class Period>
    constexpr time_limit(std::chrono::duration<Rep, Period> d) noexcept {
        using seconds = std::chrono::duration<long double>;
        using std::chrono::nanoseconds;
        if (seconds(d) >= seconds(nanoseconds::max()))
            limit_ = nanoseconds::max();
        else if (seconds(d) > seconds::zero()) // a positive limit stays positive: 0.1 ns is not "no time at all"
            limit_ = std::max(nanoseconds(1), std::chrono::duration_cast<nanoseconds>(d));
        else if (seconds(d) > seconds(nanoseconds::min())) // this and what follows is refused by `check`
            limit_ = std::chrono::duration_cast<nanoseconds>(d);
        else
            limit_ = seconds(d) <= seconds::zero() ? nanoseconds::min() + nanoseconds(1) : not_a_number;
    }

    /// The limit, or nothing.
    [[nodiscard]] constexpr std::optional<std::chrono::nanoseconds> limit() const noexcept { return limit_; }

    /// What a limit of NaN seconds is stored as.
    static constexpr std::chrono::nanoseconds not_a_number = std::chrono::nanoseconds::min();

private:
    std::optional<std::chrono::nanoseconds> limit_;
};

/// What happens when a call is stopped, by its token, its deadline, or from the task that it is made in. `raise`: it
/// throws. `keep`, with `outcomes` alone: it returns what is there, and the rest holds `cancelled`.
enum class on_stop { raise, keep };
inline constexpr on_stop keep = on_stop::keep;

/// `require = sharedmem`: the tasks need the caller's memory, so only backends with shared memory will do.
enum class require { none, sharedmem };
inline constexpr require sharedmem = require::sharedmem;

/// A hint which kind of backend suits the tasks; an explicit backend or an active guard overrides it.
enum class prefer { none, threads, processes };

/// The options of a call. An aggregate for designated initialisers; the order of its members is part of the interface.
/// What is not set takes the active `parallel_backend`'s value, then the default.
struct options {
    /// Workers: n > 0 that many; -1 all CPUs; -k all + 1 - k, at least 1. Default: all. 0 is refused.
    number_option n_jobs{};
    /// A backend for this call alone. Default: the active one.
    backend_choice backend{};
    /// joblib's verbosity: 0 nothing, up to 10 more and more lines, above 10 one for each completion. Default: 0.
    number_option verbose{};
    /// Called after each batch, by one thread at a time; what it throws is ignored. `progress_bar()` is one.
    typed_option<std::function<void(const progress_event&)>, detail::option_kind::progress> progress{};
    /// Tasks per dispatch. Default: adapts to measured durations.
    batch_size_option batch_size{};
    /// How far the input is read ahead. Default: two batches for each worker.
    pre_dispatch_option pre_dispatch{};
    /// Limit for each task, from the moment it starts on its worker. Default: none.
    time_limit timeout{};
    /// Limit for the whole call, from its start: then it is stopped, and throws `timeout_error`. Default: none.
    time_limit deadline{};
    /// How many more times a task is tried after it failed. Default: 0.
    typed_option<int, detail::option_kind::number> retries{};
    /// When it fires, nothing more starts and the call throws `cancelled`.
    typed_option<std::stop_token, detail::option_kind::stop> stop{};
    /// Whether what is there is thrown away when the call is stopped. Default: yes, the call throws.
    typed_option<joblot::on_stop, detail::option_kind::on_stop> on_stop = joblot::on_stop::raise;
    /// What the backend must offer.
    typed_option<joblot::require, detail::option_kind::require> require = joblot::require::none;
    /// What the backend had better offer.
    typed_option<joblot::prefer, detail::option_kind::prefer> prefer = joblot::prefer::none;
    /// Name of the whole call in progress. Default: the first task's label.
    typed_option<std::string, detail::option_kind::label> label{};
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

/// A duration that is no time limit.
inline std::string in_words(std::chrono::nanoseconds t) {
    if (t == time_limit::not_a_number) return "nan s";
    if (t > std::chrono::milliseconds(-1) && t < std::chrono::nanoseconds::zero())
        return std::to_string(t.count()) + " ns"; // std::to_string has six digits
    return std::to_string(std::chrono::duration<double>(t).count()) + " s";
}

inline void check_limit(const char* field, const time_limit& given) {
    if (const auto t = given.limit(); t && *t <= std::chrono::nanoseconds::zero())
        refuse(field, in_words(*t), "give a positive duration, or leave it out for no limit");
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
    check_limit("timeout", o.timeout);
    check_limit("deadline", o.deadline);
    if (o.retries < 0) refuse("retries", o.retries, "give 0 or more");
    if (o.require == require::sharedmem && o.prefer == prefer::processes)
        refuse("prefer", "processes", "processes share no memory, which require = sharedmem asks for");
}

} // namespace detail

} // namespace joblot
