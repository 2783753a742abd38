// SPDX-License-Identifier: BSL-1.0
// From options to a running call: resolves guard, defaults and backend, picks the job for the input, and drives it.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/backend/backend.hpp>
#include <joblot/dispatch/indexed_job.hpp>
#include <joblot/dispatch/purity.hpp>
#include <joblot/dispatch/reducing_tasks.hpp>
#include <joblot/dispatch/size.hpp>
#include <joblot/dispatch/source.hpp>
#include <joblot/dispatch/stop_link.hpp>
#include <joblot/dispatch/stream_job.hpp>
#include <joblot/generator.hpp>
#include <joblot/parallel_backend.hpp>
#include <joblot/persisted.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// A call that is ready to run: who runs it, and how.
struct prepared_call {
    backend* engine = nullptr;
    std::shared_ptr<backend> keep; // keeps the engine alive where nothing else does
    call_settings settings;
};

/// Calls nested deeper than this are taken for an endless recursion: better an error than a stack overflow.
inline constexpr int deepest_nesting = 100;

/// The backend that the hint asks for, as far as it can be had here, or else the default one.
inline const std::shared_ptr<backend>& hinted_engine(const options& o, const scope& here) {
    if (o.prefer == prefer::threads) return threads::shared();
    const bool can_start = !here.in_task && process_engine().load(std::memory_order_acquire);
    return o.prefer == prefer::processes && can_start ? processes::shared() : default_engine(here);
}

/// The backend that a call gets: its own, the guard's, the hinted or the default one, with shared memory if it must be.
/// @param own The call's own, or null.
inline const std::shared_ptr<backend>& choose_engine(const options& o, const std::shared_ptr<backend>& own,
                                                     const scope& here) {
    const auto& engine = own ? own : here.engine ? here.engine : hinted_engine(o, here);
    if (o.require != require::sharedmem || engine->traits().shared_memory) return engine;
    if (own)
        throw std::invalid_argument("joblot: require = sharedmem: backend " + own->name() +
                                    " shares no memory with its workers; leave the backend out, or give threads{}");
    return threads::shared();
}

/// What is in force inside a call's tasks. A backend without workers of its own is as if it were not there. Inside a
/// worker the default is threads, as many as this call has; all calls share the one pool.
inline scope scope_inside(const call_settings& s, const options& o, const scope& here) {
    scope inside = s.in_caller ? here : scope{.n_jobs = s.workers, .in_task = true, .depth = here.depth};
    const auto& own = o.backend.defaults().inner_max_num_threads;
    inside.inner_max_num_threads = own ? own : here.inner_max_num_threads;
    ++inside.depth;
    return inside;
}

/// @param o       Must outlive the prepared call.
/// @param outlive Whether the call goes on when the guard in force is gone.
inline prepared_call prepare(const options& o, bool outlive = false) {
    const scope& here = scope_here();
    if (here.depth >= deepest_nesting)
        throw error("joblot: calls are nested " + std::to_string(deepest_nesting) +
                    " deep; is this an endless recursion?");
    prepared_call call{};
    call.settings.deadline = end_of_call(o);
    if (!o.backend.name().empty()) call.keep = backend_by_name(o.backend.name());
    const auto& chosen = choose_engine(o, call.keep ? call.keep : o.backend.engine(), here);
    backend& engine = *(call.engine = chosen.get());
    if (outlive) call.keep = chosen;

    call_settings& s = call.settings;
    s.given = &o;
    const auto& described = o.backend.defaults().n_jobs;
    s.requested_n_jobs = o.n_jobs ? *o.n_jobs : described ? *described : default_n_jobs(here);
    s.outer = this_task::stop_token();
    s.workers = engine.effective_n_jobs_of(s);
    if (s.workers < 1) throw backend_error("joblot: " + engine.name() + " has no active worker");
    const backend_traits traits = engine.traits();
    s.in_caller = traits.in_caller;
    s.remote = traits.remote;
    s.batch_target = traits.batch_target;
    s.batch_cost = traits.batch_cost;
    const auto& loud = o.backend.defaults().verbose;
    s.verbose = o.verbose ? *o.verbose : loud ? *loud : here.verbose.value_or(0);
    if (s.observed()) s.backend_name = engine.name();
    s.inside = scope_inside(s, o, here);
    return call;
}

/// Lets the backend run the job to its end; afterwards the job knows how it ended. Throws nothing, but unwinds where a
/// task ends this thread.
inline void run_to_end(backend& engine, job& j) {
    try {
        const stop_link link(j);
        engine.run(j);
        stop_link::check_deadline(j);
        if (j.state() == progress_state::finished && !j.all_done())
            j.abort(std::make_exception_ptr(
                backend_error("joblot: " + engine.name() + " returned before all tasks were done")));
    } catch (...) {
        j.abort(caught_error());
        if (thread_ends()) throw;
    }
}

// Whether a range of type R&& belongs to us, its elements included: a container that was moved in, but not a span.
template <class R>
inline constexpr bool owns_elements = !std::is_reference_v<R> && !std::is_const_v<R> && !std::ranges::view<R>;
template <class C>
inline constexpr bool owns_elements<std::ranges::owning_view<C>> = true;

template <class Tasks>
void check_repeatable(const options& o) {
    if (!Tasks::repeatable && o.retries > 0)
        refuse("retries", o.retries, "tasks that cannot be copied cannot be tried again; give 0");
}

/// For calls that return values: they have no place for what is not there.
inline void check_gives_all(const options& o) {
    if (o.on_stop == on_stop::keep)
        refuse("on_stop", "keep", "only outcomes() can tell what was not done; call that, or leave the option out");
}

/// Runs a job whose results are wanted at the end.
template <class Job>
auto run_job(backend& engine, Job& j) {
    run_to_end(engine, j);
    j.report_end(j.state());
    j.throw_if_failed();
    return j.take();
}

/// Runs the tasks of a range; `Results` says what is kept of them.
template <class Results, class R>
auto run_range_into(const options& o, R&& range, typename Results::shared all) {
    using range_type = std::remove_reference_t<R>;
    using task_type = std::remove_cvref_t<std::ranges::range_reference_t<range_type>>;
    if constexpr (combines<Results> || !keeps_failures<Results>) check_gives_all(o);
    prepared_call call = prepare(o);
    if constexpr (persists_result<task_type>) {
        call.settings.persists_results = true;
        call.settings.persists_messages =
            block_kind_of<typename task_result_t<task_type>::value_type>() == block_kind::none;
    }
    if constexpr (indexable<range_type>) {
        using source = indexed_source<std::ranges::iterator_t<range_type>, owns_elements<R>>;
        check_repeatable<source>(o);
        const std::size_t n = number_of_tasks(range, Results::most);
        source tasks(std::ranges::begin(range), n);
        indexed_job<source, Results> j(call.settings, tasks, all);
        return run_job(*call.engine, j);
    } else {
        using job_type = stream_job<range_type, owns_elements<R>, Results>;
        check_repeatable<job_type>(o);
        if constexpr (std::ranges::sized_range<range_type>) static_cast<void>(number_of_tasks(range, Results::most));
        job_type j(call.settings, range, keeps_nothing<Results> ? delivery::none : delivery::at_end, all);
        return run_job(*call.engine, j);
    }
}

/// The same; `Results<R>` is what keeps results of type R.
template <template <class> class Results, class R>
auto run_range(const options& o, R&& range) {
    using result = task_result_t<std::ranges::range_reference_t<std::remove_reference_t<R>>>;
    return run_range_into<Results<result>>(o, std::forward<R>(range), {});
}

/// Runs the tasks of a range and combines their results.
/// @tparam Keep Whether those that fail are left out, and told of.
template <bool Keep, class R, class Init, class Combine>
auto run_reduction(const options& o, R&& range, Init init, Combine combine) {
    using result = task_result_t<std::ranges::range_reference_t<std::remove_reference_t<R>>>;
    using all_type = combined_results<reduction_rules<result, Init, Combine>, Keep>;
    all_type all(std::move(init), std::move(combine));
    return run_range_into<all_type>(o, std::forward<R>(range), all);
}

/// A call whose results are read while it goes on, without their types. A thread of its own drives the backend, so that
/// the reader is free and a nested generator never waits for a free helper; where the backend works on the caller's
/// thread, the reader does. A template, so that only files with a generator compile it.
template <class = void>
class basic_live_call {
public:
    basic_live_call(const basic_live_call&) = delete;
    basic_live_call& operator=(const basic_live_call&) = delete;

protected:
    explicit basic_live_call(const options& o) : options_(o), call_(prepare(options_, true)) {}
    ~basic_live_call() = default;

    [[nodiscard]] const call_settings& settings() const noexcept { return call_.settings; }

    void start(basic_stream_job<>& job) {
        job_ = &job;
        if (call_.settings.in_caller)
            link_.emplace(job);
        else
            driver_ = start_driver();
    }
    /// For the destructor: the job must not go while it runs.
    void cancel() {
        if (ended_) return;
        job_->stop();
        wait_for_end();
    }
    void wait_for_end() {
        ended_ = true;
        if (driver_.joinable())
            driver_.join();
        else
            job_->end();
        link_.reset();
    }

private:
    std::thread start_driver() {
        try {
            return std::thread([this, in_task = scope_here().in_task] {
                const scope outside{.in_task = in_task}; // a generator inside a task adds no threads to the pool either
                current_scope = &outside;
                const at_end end{*job_}; // also where a task ends this thread
                run_to_end(*call_.engine, *job_);
            });
        } catch (const std::system_error& e) {
            throw backend_error(std::string("joblot: no thread can be started for a generator: ") + e.what());
        }
    }

    struct at_end {
        basic_stream_job<>& ended;
        ~at_end() { ended.end(); }
    };

    options options_;
    prepared_call call_;
    basic_stream_job<>* job_ = nullptr;
    std::optional<stop_link> link_;
    std::thread driver_;
    bool ended_ = false;
};

template <class View, bool Own, class R, class T>
class live_call final : public result_stream<T>, private basic_live_call<> {
    using job_type = stream_job<View, Own, streamed_results<R>>;

public:
    live_call(const options& o, View view, delivery how)
        : basic_live_call<>(o), view_(std::move(view)), job_(settings(), view_, how, {}) {
        start(job_);
    }
    ~live_call() override { cancel(); }

    std::optional<T> next() override {
        if (auto one = job_.next()) {
            if constexpr (std::is_same_v<T, completed<R>>)
                return one;
            else
                return std::move(one->value);
        }
        wait_for_end();
        job_.throw_if_failed();
        return std::nullopt;
    }

private:
    View view_;
    job_type job_;
};

template <class T, class R>
result_range<T> start_live_call(const options& o, R&& range, delivery how) {
    using view = std::views::all_t<R>;
    using result = task_result_t<std::ranges::range_reference_t<view>>;
    using call = live_call<view, owns_elements<view>, result, T>;
    check_gives_all(o);
    check_repeatable<task_buffer<std::remove_cvref_t<std::ranges::range_reference_t<view>>>>(o);
    return result_range<T>(std::make_unique<call>(o, std::views::all(std::forward<R>(range)), how));
}

} // namespace joblot::detail
