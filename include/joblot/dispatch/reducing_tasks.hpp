// SPDX-License-Identifier: BSL-1.0
// Tasks whose results are combined where they are made: on the workers' threads, or in other processes.
#pragma once

#include <joblot/dispatch/execute.hpp>
#include <joblot/dispatch/reduction.hpp>
#include <joblot/dispatch/typed_tasks.hpp>
#include <joblot/wire/remote_task.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot {

/// What `Parallel::reduce_outcomes` gives.
/// @tparam T The type of the combined value.
template <class T>
struct reduced {
    T value;                             ///< of the results of the tasks that gave one
    std::vector<outcome<void>> failures; ///< of the others, by index
};

namespace detail {

/// What a partial reduction is on the wire.
template <class Rules>
void write_partial(encoder& to, partial_reduction<Rules>& from) {
    from.close();
    outgoing& message = to.message();
    message.put(static_cast<std::uint64_t>(from.nodes().size()));
    message.put(static_cast<std::uint64_t>(from.runs().size()));
    for (const auto& n : from.nodes()) {
        message.put(static_cast<std::uint64_t>(n.begin));
        message.put(static_cast<std::uint64_t>(n.end));
        encode(to, *n.made);
    }
    for (const auto& r : from.runs()) {
        message.put(static_cast<std::uint64_t>(r.begin));
        message.put(static_cast<std::uint64_t>(r.end));
        for (const auto& one : r.results) encode(to, one);
    }
}

/// Reads it.
/// @param to Is empty.
/// @throws serialization_error where it is not that of `count` of the tasks `first` to `last`.
template <class Rules>
void read_partial(decoder& from, partial_reduction<Rules>& to, std::size_t first, std::size_t last, std::size_t count) {
    constexpr const char* what = "a part of a reduction";
    incoming& message = from.message();
    const auto next = [&]() -> std::size_t { return message.get<std::uint64_t>(what); };
    const std::size_t nodes = next();
    const std::size_t runs = next();
    std::size_t found = 0;
    std::size_t at = first;
    std::size_t end = 0;
    const auto next_range = [&] {
        const std::size_t begin = next();
        end = next();
        if (begin < at || end <= begin || end > last) message.fail("results of tasks that were not asked for", what);
        at = end;
        found += end - begin;
        return begin;
    };
    for (std::size_t k = 0; k != nodes; ++k) {
        const std::size_t begin = next_range();
        const std::size_t size = end - begin;
        const bool is_node = size % Rules::leaf == 0 && std::has_single_bit(size / Rules::leaf) && begin % size == 0;
        if (begin % Rules::leaf != 0 || (size > Rules::leaf && !is_node))
            message.fail("a number of results that no node has", what);
        to.nodes().push_back({begin, end, decode<typename Rules::value>(from)});
    }
    at = first;
    for (std::size_t k = 0; k != runs; ++k) {
        const std::size_t begin = next_range();
        if (begin / Rules::leaf != (end - 1) / Rules::leaf) message.fail("results of more than one leaf", what);
        auto& r = to.runs().emplace_back(typename partial_reduction<Rules>::run{begin, end, {}});
        for (std::size_t i = begin; i != end; ++i) r.results.push_back(decode<typename Rules::element>(from));
    }
    if (found != count) message.fail("more or fewer results than tasks that have ended", what);
}

/// What another process combines the results of a request in.
template <class Rules>
class request_partial final : public any_partial {
public:
    struct rules {
        typename Rules::combine_type combine;
        std::optional<typename Rules::init_type> init; // none where results are values
    };

    /// With what came in the request.
    explicit request_partial(std::unique_ptr<const rules> own)
        : own_(std::move(own)), made_({own_->combine, own_->init ? &*own_->init : nullptr}) {}
    /// In a process that was forked: with what the caller has.
    explicit request_partial(const reduction_tools<Rules>& tools) : made_(tools) {}

    void write(encoder& to) override { write_partial(to, made_); }
    void clear() noexcept override { made_.clear(); }
    [[nodiscard]] partial_reduction<Rules>& made() noexcept { return made_; }

private:
    const std::unique_ptr<const rules> own_;
    partial_reduction<Rules> made_;
};

/// What becomes of a result in another process (see remote_task.hpp): it is combined there.
template <class Rules>
struct result_combined {
    using combine = typename Rules::combine_type;
    using init = typename Rules::init_type;

    template <class R>
    static constexpr bool returns = travels<typename Rules::value> && travels<typename Rules::element>;
    template <class R>
    static constexpr bool possible = returns<R> && travels<combine> && (Rules::is_value || travels<init>);

    template <class R>
    static std::string refusal() {
        if constexpr (!travels<typename Rules::value>)
            return what_does_not_travel<typename Rules::value>("the value of the reduction");
        else if constexpr (!travels<typename Rules::element>)
            return what_does_not_travel<R>("its result");
        else if constexpr (!travels<combine>)
            return what_does_not_travel<combine>("the function that combines results");
        else
            return what_does_not_travel<init>("the first value of the reduction");
    }

    static std::unique_ptr<any_partial> open_request(decoder& from) {
        using rules = typename request_partial<Rules>::rules;
        auto own = std::make_unique<rules>(rules{decode<combine>(from), std::nullopt});
        if constexpr (!Rules::is_value) own->init.emplace(decode<init>(from));
        return std::make_unique<request_partial<Rules>>(std::move(own));
    }
    static constexpr runner_entry::opening open = &open_request;

    template <class Call>
    static void take(encoder&, result_listener& then, Call call) {
        auto&& result = call();
        if (then.refuses()) return;
        try {
            static_cast<request_partial<Rules>&>(then.partial())
                .made()
                .add(current_task->index, std::forward<decltype(result)>(result));
        } catch (...) {
            if (thread_ends()) throw;
            throw not_combined{std::current_exception()};
        }
        then.result_stands();
    }
};

/// What all tasks of a call that combines its results share; stands where other calls have their results.
/// @tparam Keep Whether a task that fails is left out, and told of.
template <class Rules, bool Keep>
class combined_results final : public any_reduction {
    using init_type = typename Rules::init_type;
    using combine_type = typename Rules::combine_type;

public:
    using value = typename Rules::value;
    using how = result_combined<Rules>;
    using shared = combined_results&;
    static constexpr bool keeps_failures = Keep;
    static constexpr std::size_t most = largest_size;
    static constexpr std::size_t aligned_to = Rules::leaf;

    combined_results(init_type init, combine_type combine)
        : init_(std::move(init)), combine_(std::move(combine)), tree_({combine_, &init_}) {}

    [[nodiscard]] partial_reduction<Rules> empty() const { return partial_reduction<Rules>({combine_, &init_}); }
    void add(partial_reduction<Rules>& p) { tree_.add(p); }
    /// A task failed, and that is kept; what becomes of its index is the caller's to say.
    void note_failure(failure f) {
        const std::lock_guard lock(mutex_);
        failures_.emplace_back(std::move(f));
    }

    void write_opening(encoder& to) const override {
        encode(to, combine_);
        if constexpr (!Rules::is_value) encode(to, init_);
    }
    [[nodiscard]] std::unique_ptr<any_partial> partial() const override {
        return std::make_unique<request_partial<Rules>>(reduction_tools<Rules>{combine_, &init_});
    }
    void take(decoder& from, std::size_t first, std::size_t last, std::size_t count) override {
        partial_reduction<Rules> p = empty();
        read_partial(from, p, first, last, count);
        add(p);
    }

    /// What the call gives; for when it is over and `throw_if_failed` let it pass.
    auto take_all() {
        if constexpr (Keep) {
            std::sort(failures_.begin(), failures_.end(),
                      [](const auto& a, const auto& b) { return a.index() < b.index(); });
            return reduced<value>{take_value(), std::move(failures_)};
        } else {
            return take_value();
        }
    }

private:
    value take_value() {
        std::optional<value> all = tree_.take();
        if constexpr (!Rules::is_value) {
            if (all) return std::move(*all); // each leaf began with it
        }
        value first = make_first();
        if (all) Rules::combine_into(combine_, first, std::move(*all));
        return first;
    }
    value make_first() {
        if constexpr (Rules::is_made)
            return init_();
        else
            return std::move(init_);
    }

    init_type init_;
    const combine_type combine_;
    reduction_tree<Rules> tree_;
    std::mutex mutex_; // guards failures_
    std::vector<outcome<void>> failures_;
};

/// The fast loop: as `run_plain`, but combines results. What a leaf comes to is kept where the compiler can hold it in
/// a register.
template <class Tasks, class Rules>
std::size_t run_combining(job& j, worker& w, const batch& b, Tasks& tasks, partial_reduction<Rules>& made,
                          std::size_t offset) {
    return run_until_failure(j, w, b, tasks, offset, [&](std::size_t& i, std::size_t last) {
        const std::size_t stride = w.stride(b);
        auto&& from = bare(tasks);
        while (i != last && w.may_start(i)) {
            const std::size_t begin = i;
            const std::size_t end = std::min(last, begin - begin % Rules::leaf + Rules::leaf);
            if (begin % Rules::leaf != 0) {
                run_started(w, i, end, stride, [&](std::size_t k) { made.add(k, from.call(k - offset)); });
            } else if constexpr (Rules::is_value) {
                auto value = made.tools().begin_leaf(from.call(i - offset));
                run_started(w, ++i, end, stride,
                            [&](std::size_t k) { made.tools().combine_into(value, from.call(k - offset)); });
                made.append(begin, i, std::move(value));
            } else {
                auto value = made.tools().empty_leaf();
                run_started(w, i, end, stride,
                            [&](std::size_t k) { made.tools().combine_into(value, from.call(k - offset)); });
                if (i != begin) made.append(begin, i, std::move(value));
            }
        }
    });
}

template <class Base, class Tasks, class Rules, bool Keep>
class typed_tasks<Base, Tasks, combined_results<Rules, Keep>>
    : public bare_tasks<Base, Tasks, typename combined_results<Rules, Keep>::how> {
    using base = bare_tasks<Base, Tasks, typename combined_results<Rules, Keep>::how>;
    using shared = combined_results<Rules, Keep>;
    using partial = partial_reduction<Rules>;

public:
    typed_tasks(Tasks tasks, std::size_t, shared& all) : base(tasks), all_(all) {}
    /// Tasks that are still to come.
    typed_tasks(std::size_t first_index, shared& all) : base(first_index), all_(all) {}

    std::size_t run(job& j, worker& w, const batch& b, bool careful) override {
        partial made = all_.empty();
        std::size_t ended = 0;
        try {
            if (careful) {
                held_task held(*this, made);
                ended = run_careful(j, w, batch(b.first(), b.size(), &held));
            } else {
                ended = run_combining(j, w, b, this->tasks_, made, Base::first);
            }
        } catch (...) {
            if (thread_ends()) all_.add(made); // the call may go on without this thread
            throw;
        }
        all_.add(made);
        return ended;
    }
    bool keep_failure([[maybe_unused]] std::size_t index, [[maybe_unused]] failure f) override {
        if constexpr (Keep) {
            partial none = all_.empty();
            none.skip(index);
            all_.note_failure(std::move(f));
            all_.add(none);
        }
        return Keep;
    }
    void result_stands(std::size_t, int) override {} // it comes with others, by `take`
    void decode(std::size_t, decoder&) override {}

    // What other processes do.
    void attempt(std::size_t, bool) override { std::terminate(); }
    void drop_result(std::size_t) override {}

    [[nodiscard]] shared& results() noexcept { return all_; }

private:
    /// For tasks with time limits and retries: holds a result until it is known to stand. On the worker's stack.
    class held_task final : public any_tasks {
    public:
        held_task(typed_tasks& all, partial& made) : tasks_(all), made_(made) {}

        void attempt(std::size_t index, bool keep_task) override { result_.emplace(tasks_.call(index, keep_task)); }
        void drop_result(std::size_t) override { result_.reset(); }
        bool keep_failure([[maybe_unused]] std::size_t index, [[maybe_unused]] failure f) override {
            if constexpr (Keep) {
                made_.skip(index);
                tasks_.all_.note_failure(std::move(f));
            }
            return Keep;
        }
        void result_stands(std::size_t index, int) override {
            made_.add(index, std::move(*result_));
            result_.reset();
        }
        [[nodiscard]] std::string label(std::size_t index) noexcept override { return tasks_.label(index); }

        // What is asked of the tasks themselves.
        std::size_t run(job&, worker&, const batch&, bool) override { std::terminate(); }
        void encode(std::size_t, encoder&) override { std::terminate(); }
        void run_forked(std::size_t, encoder&, result_listener&) override { std::terminate(); }
        void decode(std::size_t, decoder&) override { std::terminate(); }

    private:
        typed_tasks& tasks_;
        partial& made_;
        std::optional<typename base::result_type> result_;
    };

    shared& all_;
};

} // namespace detail

} // namespace joblot
