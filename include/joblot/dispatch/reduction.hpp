// SPDX-License-Identifier: BSL-1.0
// Combines the results of a call into one value as they come, in an order that depends on their indices alone: the same
// bits whoever runs which task, in whatever batches. Pure: knows no job and no message.
#pragma once

#include <joblot/dispatch/size.hpp>
#include <joblot/wire/entry.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

// The order. Indices are cut into leaves of a fixed size; in a leaf, results are combined from the first to the last.
// Leaves are combined as the nodes of one binary tree: two neighbours become a node of twice the size that begins at a
// multiple of its size. What is left at the end, for the number of tasks is seldom a power of two, is combined from the
// left. So each worker combines what it has of a leaf and of whole nodes by itself; what is torn between two workers,
// at most a leaf at each end of a batch, waits for its neighbours.

/// How values of a reduction are made and combined.
/// @tparam R       Result of a task; not void.
/// @tparam Init    What the user gave as the first value: it, or a function that makes it.
/// @tparam Combine `combine(T, T)`, and `combine(T, R)` where an R is no T; gives a T, or changes the first one.
template <class R, class Init, class Combine>
struct reduction_rules {
    static constexpr bool is_made = std::invocable<const Init&>;
    using result = R;
    using init_type = Init;
    using combine_type = Combine;
    using value = std::remove_cvref_t<
        typename std::conditional_t<is_made, std::invoke_result<const Init&>, std::type_identity<Init>>::type>;
    /// Whether a result is a value by itself. Otherwise each leaf starts with what `init` says, and takes results up.
    static constexpr bool is_value = std::convertible_to<R, value>;
    /// What is kept of a result that waits for those before it.
    using element = std::conditional_t<is_value, value, R>;

    template <class X>
    static constexpr bool is_small = std::is_trivially_copyable_v<X> && sizeof(X) <= 64;
    /// Results in a leaf. What cannot be combined yet waits, so that leaves of large results are short. Where a leaf
    /// starts with a copy of something, as a histogram, it is long: 256 counters cost 2 % of 4096 samples.
    static constexpr std::size_t leaf = is_value ? (is_small<value> ? 1024 : 1) : (is_small<R> ? 4096 : 64);

    /// a = combine(a, b), in place where `combine` can.
    template <class X>
    static void combine_into(const Combine& combine, value& a, X&& b) {
        if constexpr (std::invocable<const Combine&, value&&, X&&>)
            assign(combine, std::move(a), std::forward<X>(b));
        else
            assign(combine, a, std::forward<X>(b));
    }

private:
    // A is what `combine` gets: the value itself, as a copy would be dear.
    template <class A, class X>
    static void assign(const Combine& combine, A&& a, X&& b) {
        using given = std::invoke_result_t<const Combine&, A&&, X&&>;
        if constexpr (std::is_void_v<given>) {
            std::invoke(combine, std::forward<A>(a), std::forward<X>(b));
        } else if constexpr (std::is_reference_v<given>) {
            given same = std::invoke(combine, std::forward<A>(a), std::forward<X>(b));
            if (static_cast<const void*>(std::addressof(same)) != static_cast<const void*>(std::addressof(a)))
                a = std::forward<given>(same);
        } else {
            a = std::invoke(combine, std::forward<A>(a), std::forward<X>(b));
        }
    }
};

/// Whether numbers of type `From` are more than those of type `To` can hold.
template <class To, class From>
constexpr bool loses_digits() {
    if constexpr (std::is_arithmetic_v<To> && std::is_arithmetic_v<From>)
        return !std::is_same_v<std::common_type_t<To, From>, To>;
    else
        return false;
}

/// Whether values can be made and combined so; if not, says why in one diagnostic.
template <class Rules>
constexpr bool check_rules() {
    using value = typename Rules::value;
    using result = typename Rules::result;
    using combine = const typename Rules::combine_type;
    if constexpr (loses_digits<value, result>()) {
        static_assert(std::is_void_v<value>, "joblot: the first value of the reduction is of a type that does not hold "
                                             "all that results hold, as 0 with results of type double: give 0.0");
        return false;
    } else if constexpr (!std::movable<value>) {
        static_assert(std::movable<value>, "joblot: the value of a reduction must be movable and assignable");
        return false;
    } else {
        constexpr bool joins = std::invocable<combine&, value&&, value&&> || std::invocable<combine&, value&, value&&>;
        static_assert(joins, "joblot: a reduction needs combine(T, T), where T is the type of the first value; it is "
                             "called as const, with rvalues, or with a T& that it changes");
        constexpr bool takes = Rules::is_value || std::invocable<combine&, value&&, result&&> ||
                               std::invocable<combine&, value&, result&&>;
        static_assert(takes, "joblot: these results are no T, the type of the first value, and combine(T, result) "
                             "cannot be called either");
        constexpr bool starts = Rules::is_value || Rules::is_made || std::copy_constructible<value>;
        static_assert(starts, "joblot: the first value of this reduction must be copied; give a function that makes "
                              "one: [] { return T(); }");
        return joins && takes && starts;
    }
}

/// The user's function and first value. Refers to them.
template <class Rules>
struct reduction_tools {
    using value = typename Rules::value;

    const typename Rules::combine_type& combine;
    const typename Rules::init_type* init; // may be null where results are values

    /// The value of a leaf of which `first` is the first result.
    template <class X>
    [[nodiscard]] value begin_leaf(X&& first) const {
        if constexpr (Rules::is_value) {
            return static_cast<value>(std::forward<X>(first));
        } else {
            value made = empty_leaf();
            combine_into(made, std::forward<X>(first));
            return made;
        }
    }
    /// What a leaf starts with where results are no values.
    [[nodiscard]] value empty_leaf() const {
        if constexpr (Rules::is_made)
            return (*init)();
        else
            return *init;
    }
    /// a = combine(a, b), in place where `combine` can.
    template <class X>
    void combine_into(value& a, X&& b) const {
        if constexpr (!std::is_same_v<std::remove_cvref_t<X>, value> && Rules::is_value)
            Rules::combine_into(combine, a, static_cast<value>(std::forward<X>(b)));
        else
            Rules::combine_into(combine, a, std::forward<X>(b));
    }
};

/// What was made of the results of consecutive indices: nodes of the tree, the beginning of a leaf, and single results
/// of a leaf whose beginning is elsewhere. Used by one thread.
template <class Rules>
class partial_reduction {
public:
    using value = typename Rules::value;
    using element = typename Rules::element;
    using tools_type = reduction_tools<Rules>;

    /// Results `begin` to `end` of the call; no value where none of these tasks gave one.
    struct node {
        std::size_t begin, end;
        std::optional<value> made;

        [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
        [[nodiscard]] bool is_whole() const noexcept { return size() >= Rules::leaf; }
        /// Whether it is the first half of a node of twice its size.
        [[nodiscard]] bool is_left() const noexcept { return begin / size() % 2 == 0; }
        /// Whether it makes a node of twice the size with what is right of it.
        [[nodiscard]] bool is_neighbour_of(std::size_t right_begin, std::size_t right_end) const noexcept {
            const std::size_t right_size = right_end - right_begin;
            return right_size >= Rules::leaf && end == right_begin && size() == right_size && is_left();
        }
        [[nodiscard]] bool is_neighbour_of(const node& right) const noexcept {
            return is_neighbour_of(right.begin, right.end);
        }
        /// Takes up what is right of it.
        void join(const tools_type& tools, node& right) {
            end = right.end;
            if (right.made) join(tools, right.end, std::move(*right.made));
        }
        void join(const tools_type& tools, std::size_t right_end, value&& right) {
            end = right_end;
            if (made)
                tools.combine_into(*made, std::move(right));
            else
                made.emplace(std::move(right));
        }
    };
    /// Results `begin` to `end` that are not combined yet, all of one leaf; or no results at all, where there are none.
    struct run {
        std::size_t begin, end;
        std::vector<element> results;
    };

    explicit partial_reduction(const tools_type& tools) : tools_(tools) {}

    [[nodiscard]] const tools_type& tools() const noexcept { return tools_; }

    /// Takes a result up. Indices only rise.
    template <class X>
    void add(std::size_t index, X&& result) {
        if (open_ && index == open_->end) {
            tools_.combine_into(*open_->made, std::forward<X>(result));
            ++open_->end;
        } else {
            close();
            if (index % Rules::leaf != 0) return keep(index, std::forward<X>(result));
            open_.emplace(node{index, index + 1, tools_.begin_leaf(std::forward<X>(result))});
        }
        if (open_->end % Rules::leaf == 0) close();
    }
    /// There will be no result for an index.
    void skip(std::size_t index) {
        close();
        runs_.push_back({index, index + 1, {}});
    }
    /// What follows what is there, and begins with a leaf.
    void append(std::size_t begin, std::size_t end, value&& made) {
        // Not moved before it is combined: values that are all in one place, as counters, would be copied.
        if (!nodes_.empty() && nodes_.back().is_neighbour_of(begin, end))
            nodes_.back().join(tools_, end, std::move(made));
        else
            nodes_.push_back({begin, end, std::move(made)});
        while (nodes_.size() > 1 && nodes_[nodes_.size() - 2].is_neighbour_of(nodes_.back())) {
            nodes_[nodes_.size() - 2].join(tools_, nodes_.back());
            nodes_.pop_back();
        }
    }
    /// What comes next is not combined with what is there.
    void close() {
        if (!open_) return;
        append(open_->begin, open_->end, std::move(*open_->made));
        open_.reset();
    }
    void clear() noexcept {
        nodes_.clear();
        runs_.clear();
        open_.reset();
    }

    [[nodiscard]] std::vector<node>& nodes() noexcept { return nodes_; }
    [[nodiscard]] std::vector<run>& runs() noexcept { return runs_; }

private:
    template <class X>
    void keep(std::size_t index, X&& result) {
        if (runs_.empty() || runs_.back().end != index || runs_.back().results.empty())
            runs_.push_back({index, index, {}});
        runs_.back().results.push_back(static_cast<element>(std::forward<X>(result)));
        ++runs_.back().end;
    }

    const tools_type tools_;
    std::vector<node> nodes_;  // in order
    std::vector<run> runs_;    // in order
    std::optional<node> open_; // the leaf that `add` is in
};

/// All that was made so far. Thread-safe. `combine` is the user's: it may be slow, make calls of its own, and throw; no
/// lock is held while it runs. When it has thrown, what is here is of no use any more.
template <class Rules>
class reduction_tree {
    using partial = partial_reduction<Rules>;
    using node = typename partial::node;
    using value = typename Rules::value;
    using element = typename Rules::element;
    using run = typename partial::run;

public:
    explicit reduction_tree(const reduction_tools<Rules>& tools) : tools_(tools) {}

    /// Takes what a worker has made, which is empty then. Each index comes once.
    void add(partial& p) {
        p.close();
        std::unique_lock lock(mutex_);
        for (run& r : p.runs()) {
            torn_leaf& l = leaf_of(r.begin);
            l.waiting.push_back(std::move(r));
            advance(lock, l);
        }
        for (node& n : p.nodes()) {
            if (n.is_whole()) {
                insert(lock, std::make_unique<node>(std::move(n)));
            } else {
                torn_leaf& l = leaf_of(n.begin);
                l.done = std::move(n); // nothing was there: the first result of the leaf is among these
                advance(lock, l);
            }
        }
        p.clear();
    }

    /// What has been made of all, from the left; nothing where no task gave a result. For when all have been added.
    [[nodiscard]] std::optional<value> take() {
        node all{0, 0, std::nullopt};
        for (auto& n : nodes_) all.join(tools_, *n);
        for (auto& l : leaves_) all.join(tools_, l->done); // no more than one: the last
        return std::move(all.made);
    }

private:
    /// A leaf of which results have come from several sides.
    struct torn_leaf {
        node done;                  // what is combined: from the leaf's first index on
        std::vector<run> waiting{}; // a few: of each batch under way no more than one
        bool in_progress = false;   // whether some thread combines; `done.made` is its own then
    };

    torn_leaf& leaf_of(std::size_t index) {
        const std::size_t begin = index - index % Rules::leaf;
        for (auto& l : leaves_) { // a few: of each batch under way no more than two
            if (l->done.begin == begin) return *l;
        }
        leaves_.push_back(std::make_unique<torn_leaf>(torn_leaf{.done = {begin, begin, std::nullopt}}));
        return *leaves_.back();
    }

    /// Combines the results of a leaf that are no longer waiting for others.
    void advance(std::unique_lock<std::mutex>& lock, torn_leaf& l) {
        if (l.in_progress) return; // whoever does it looks again
        l.in_progress = true;
        const auto is_next = [&](const run& r) { return r.begin == l.done.end; };
        for (auto at = l.waiting.begin();
             (at = std::find_if(l.waiting.begin(), l.waiting.end(), is_next)) != l.waiting.end();) {
            run next = std::move(*at);
            l.waiting.erase(at);
            lock.unlock();
            for (element& one : next.results) take_up(l.done, std::move(one));
            lock.lock();
            l.done.end = next.end;
        }
        l.in_progress = false;
        if (l.done.size() != Rules::leaf) return;
        auto whole = std::make_unique<node>(std::move(l.done));
        std::erase_if(leaves_, [&](const auto& other) { return other.get() == &l; });
        insert(lock, std::move(whole));
    }

    void take_up(node& n, element&& one) {
        if (n.made)
            tools_.combine_into(*n.made, std::move(one));
        else
            n.made.emplace(tools_.begin_leaf(std::move(one)));
    }

    void insert(std::unique_lock<std::mutex>& lock, std::unique_ptr<node> n) {
        const auto place = [this](std::size_t begin) {
            return std::lower_bound(nodes_.begin(), nodes_.end(), begin,
                                    [](const auto& x, std::size_t i) { return x->begin < i; });
        };
        for (;;) {
            const std::size_t neighbour = n->is_left() ? n->end : n->begin - n->size();
            const auto at = place(neighbour);
            if (at == nodes_.end() || (*at)->begin != neighbour || (*at)->size() != n->size()) break;
            std::unique_ptr<node> right = std::move(*at);
            nodes_.erase(at);
            lock.unlock();
            if (!n->is_left()) n.swap(right);
            n->join(tools_, *right);
            right.reset();
            lock.lock();
        }
        nodes_.insert(place(n->begin), std::move(n));
    }

    const reduction_tools<Rules> tools_;
    std::mutex mutex_;                         // guards all below
    std::vector<std::unique_ptr<node>> nodes_; // by index; each two that belong together have become one
    std::vector<std::unique_ptr<torn_leaf>> leaves_;
};

} // namespace joblot::detail
