// SPDX-License-Identifier: BSL-1.0
// The job over any input range: read lazily, under a lock, by whichever worker is free, never far ahead.
#pragma once

#include <joblot/dispatch/size.hpp>
#include <joblot/dispatch/source.hpp>
#include <joblot/dispatch/stream_core.hpp>
#include <joblot/dispatch/typed_tasks.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// The tasks and results of one batch.
/// @tparam Results What keeps the results.
template <class Task, class Results>
class typed_node final : public typed_tasks<stream_node, task_buffer<Task>, Results> {
public:
    using typed_tasks<stream_node, task_buffer<Task>, Results>::typed_tasks;

    [[nodiscard]] std::size_t size() const noexcept override { return this->tasks_.size(); }
    void reserve(std::size_t n) override { this->tasks_.reserve(n); }
    void take_task(stream_node& from, std::size_t k) override {
        this->tasks_.push_back(static_cast<typed_node&>(from).tasks_.take(k));
    }
    void expect_results() override {
        if constexpr (!combines<Results>) this->results_ = Results(size());
    }
    void drop_tasks() noexcept override { this->tasks_ = {}; }
};

/// @tparam View    A range of tasks, borrowed: it must outlive the job.
/// @tparam Own     Whether its tasks may be moved from.
/// @tparam Results What keeps the results of a batch.
template <task_range View, bool Own, class Results>
class stream_job final : public basic_stream_job<> {
    using reader = task_reader<View, Own>;
    using task_type = typename reader::task_type;
    using tasks_type = task_buffer<task_type>;
    using node = typed_node<task_type, Results>;

public:
    using result_type = typename tasks_type::result_type;
    static constexpr bool repeatable = tasks_type::repeatable;

    stream_job(const call_settings& settings, View& view, delivery how, typename Results::shared all)
        : basic_stream_job<>(settings, size_of(view), how, needs_care<Results>(settings)), reader_(view), all_(all) {
        input_ = &reader_.state();
    }

    [[nodiscard]] const runner_entry& remote_runner() const override {
        return tasks_type::runner(typename Results::how());
    }
    void check_results_travel() const override { tasks_type::check_results_travel(typename Results::how()); }
    [[nodiscard]] any_reduction* reduction() noexcept override {
        if constexpr (combines<Results>)
            return &all_;
        else
            return nullptr;
    }

    /// All results in order; for when the call is over and `throw_if_failed` let it pass.
    auto take() {
        if constexpr (combines<Results>) {
            return all_.take_all();
        } else if constexpr (keeps_failures<Results>) {
            return take_outcomes();
        } else if constexpr (!keeps_nothing<Results>) {
            std::vector<result_type> all;
            all.reserve(tasks_claimed());
            for (const auto& n : nodes()) static_cast<node&>(*n).results().take(all);
            return all;
        }
    }

    /// For a generator, and one reader at a time: the next result, see `next_result`.
    std::optional<completed<result_type>> next() {
        handed_out from;
        if (!next_result(from)) return std::nullopt;
        // no worker touches a result that was published, and there is one reader
        auto& result = static_cast<node&>(*from.from).results()[from.k];
        completed<result_type> one{from.from->first + from.k, std::move(*result)};
        result.reset();
        return one;
    }

protected:
    [[nodiscard]] std::unique_ptr<stream_node> make_node(std::size_t first) override {
        return std::make_unique<node>(first, all_);
    }
    void read_range(std::size_t n, stream_node& out) override { reader_.read(n, static_cast<node&>(out).tasks()); }

private:
    /// What `outcomes` gives: of tasks that a stop has left, too, also where the input was not read that far.
    auto take_outcomes() {
        left_tasks left(*this);
        typename Results::list all;
        const std::size_t size = number_of_outcomes();
        all.reserve(size);
        for (const auto& each : nodes()) {
            node& n = static_cast<node&>(*each);
            if (is_halted())
                n.results().fill([&](std::size_t k) { return left.at(n.first + k, n.label(n.first + k)); });
            n.results().take(all);
        }
        while (all.size() < size) all.emplace_back(left.at(all.size(), next_label_ahead()));
        return all;
    }

    static std::size_t size_of(View& view) {
        if constexpr (std::ranges::sized_range<View>)
            return size_that_fits(view).value_or(none); // longer ones are as good as endless
        else
            return none;
    }

    reader reader_;
    typename Results::shared all_;
};

} // namespace joblot::detail
