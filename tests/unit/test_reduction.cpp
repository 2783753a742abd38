// SPDX-License-Identifier: BSL-1.0
// The order in which results are combined: it depends on indices alone, however the work is cut and whatever comes
// first; and what of it travels is checked where it arrives.

#include "support/wire.hpp"

#include <joblot/dispatch/reducing_tasks.hpp>
#include <joblot/joblot.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using joblot::serialization_error;
using joblot::detail::decoder;
using joblot::detail::encoder;
using joblot::detail::incoming;
using joblot::detail::outgoing;
using joblot::detail::partial_reduction;
using joblot::detail::read_partial;
using joblot::detail::reduction_rules;
using joblot::detail::reduction_tools;
using joblot::detail::reduction_tree;
using joblot::detail::write_partial;

// Says in which order it was combined.
struct written_order {
    std::string operator()(const std::string& a, const std::string& b) const { return "(" + a + " " + b + ")"; }
};
using order_rules = reduction_rules<std::string, std::string, written_order>; // leaves of one
using sum_rules = reduction_rules<double, double, std::plus<>>;               // leaves of many
struct count_in {
    void operator()(std::array<int, 8>& all, std::size_t one) const { ++all[one % 8]; }
    void operator()(std::array<int, 8>& all, const std::array<int, 8>& more) const {
        for (std::size_t k = 0; k != 8; ++k) all[k] += more[k];
    }
};
using count_rules = reduction_rules<std::size_t, std::array<int, 8>, count_in>;

static_assert(order_rules::leaf == 1 && sum_rules::leaf == 1024 && count_rules::leaf == 4096);

double term(std::size_t i) { return 1.0 / (1.0 + static_cast<double>(i)); }

/// Cuts `n` tasks into batches of up to `most`, which `run` has in any order.
template <class Run>
void in_batches(std::size_t n, std::size_t most, std::mt19937& random, Run run) {
    std::vector<std::pair<std::size_t, std::size_t>> batches;
    for (std::size_t at = 0; at != n;) {
        const std::size_t end = std::min(n, at + 1 + random() % most);
        batches.emplace_back(at, end);
        at = end;
    }
    std::shuffle(batches.begin(), batches.end(), random);
    for (const auto& [begin, end] : batches) run(begin, end);
}

template <class Rules, class Result>
auto combined(const reduction_tools<Rules>& tools, std::size_t n, std::size_t most, unsigned seed, Result result) {
    std::mt19937 random(seed);
    reduction_tree<Rules> tree(tools);
    in_batches(n, most, random, [&](std::size_t begin, std::size_t end) {
        partial_reduction<Rules> p(tools);
        for (std::size_t i = begin; i != end; ++i) {
            p.add(i, result(i));
            if (random() % 500 == 0) p.close(); // what is there is sent
        }
        tree.add(p);
    });
    return tree.take();
}

} // namespace

TEST_CASE("Neighbours are combined as the nodes of one binary tree, and what is left from the left", "[reduction]") {
    const written_order combine;
    const reduction_tools<order_rules> tools{combine, nullptr};
    const auto letter = [](std::size_t i) { return std::string(1, static_cast<char>('a' + i)); };
    for (unsigned seed = 0; seed != 50; ++seed) {
        CHECK(combined(tools, 8, 3, seed, letter) == "(((a b) (c d)) ((e f) (g h)))");
        CHECK(combined(tools, 7, 3, seed, letter) == "((((a b) (c d)) (e f)) g)");
    }
    CHECK(combined(tools, 1, 3, 0, letter) == "a");
    CHECK_FALSE(combined(tools, 0, 3, 0, letter));
}

TEST_CASE("Sums have the same bits however the work was cut", "[reduction]") {
    const std::plus<> combine;
    const reduction_tools<sum_rules> tools{combine, nullptr};
    for (const std::size_t n : {1U, 255U, 1024U, 1025U, 5000U, 20000U}) {
        const auto whole = combined(tools, n, n, 0, term);
        for (const std::size_t most : {1U, 2U, 100U, 1024U, 3000U}) {
            for (unsigned seed = 0; seed != 5; ++seed) {
                INFO(n << " tasks in batches of up to " << most << ", " << seed);
                CHECK(combined(tools, n, most, seed, term) == whole);
            }
        }
    }
}

TEST_CASE("The results of a leaf are combined from the first to the last", "[reduction]") {
    const std::plus<> combine;
    const reduction_tools<sum_rules> tools{combine, nullptr};
    double in_order = 0;
    for (std::size_t i = 0; i != sum_rules::leaf; ++i) in_order += term(i);
    CHECK(combined(tools, sum_rules::leaf, 10, 1, term) == in_order);
}

TEST_CASE("Results of another type are taken up by copies of the first value", "[reduction]") {
    const count_in combine;
    const std::array<int, 8> none{};
    const reduction_tools<count_rules> tools{combine, &none};
    const auto same = [](std::size_t i) { return i; };
    for (const std::size_t most : {1U, 50U, 4096U, 20000U}) {
        const auto counts = combined(tools, 16000, most, 3, same);
        REQUIRE(counts);
        CHECK(*counts == std::array<int, 8>{2000, 2000, 2000, 2000, 2000, 2000, 2000, 2000});
    }
}

TEST_CASE("Tasks that gave no result are left out, wherever they are", "[reduction]") {
    const std::plus<> combine;
    const reduction_tools<sum_rules> tools{combine, nullptr};
    const auto is_left_out = [](std::size_t i) { return i % 3 == 0 || (i >= 2048 && i < 4096); };
    std::optional<double> first;
    for (const std::size_t most : {1U, 100U, 10000U}) {
        std::mt19937 random(7);
        reduction_tree<sum_rules> tree(tools);
        in_batches(6000, most, random, [&](std::size_t begin, std::size_t end) {
            partial_reduction<sum_rules> p(tools);
            for (std::size_t i = begin; i != end; ++i) {
                if (is_left_out(i))
                    p.skip(i);
                else
                    p.add(i, term(i));
            }
            tree.add(p);
        });
        const auto sum = tree.take();
        REQUIRE(sum);
        if (!first) first = sum;
        CHECK(sum == first);
    }
    reduction_tree<sum_rules> none(tools);
    partial_reduction<sum_rules> p(tools);
    for (std::size_t i = 0; i != 3000; ++i) p.skip(i);
    none.add(p);
    CHECK_FALSE(none.take());
}

TEST_CASE("Many threads may add what they have at the same time", "[reduction]") {
    const std::plus<> combine;
    const reduction_tools<sum_rules> tools{combine, nullptr};
    const std::size_t n = 40000;
    reduction_tree<sum_rules> tree(tools);
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t begin; (begin = next.fetch_add(37)) < n;) {
            partial_reduction<sum_rules> p(tools);
            for (std::size_t i = begin; i != std::min(n, begin + 37); ++i) p.add(i, term(i));
            tree.add(p);
        }
    };
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t != 4; ++t) threads.emplace_back(work);
    }
    CHECK(tree.take() == combined(tools, n, n, 0, term));
}

TEST_CASE("No more is kept than what waits for its neighbours", "[reduction]") {
    // Counts the values that there are.
    struct counted {
        explicit counted(int& n) : live(&n) { ++*live; }
        counted(const counted&) = delete;
        counted& operator=(const counted&) = delete;
        counted(counted&& from) noexcept : live(from.live) { ++*live; }
        counted& operator=(counted&&) noexcept { return *this; }
        ~counted() { --*live; }
        int* live;
    };
    struct join {
        void operator()(counted&, counted&&) const {}
    };
    using rules = reduction_rules<counted, counted, join>;
    const join combine;
    const reduction_tools<rules> tools{combine, nullptr};
    int live = 0;
    int most = 0;
    {
        reduction_tree<rules> tree(tools);
        for (std::size_t i = 1; i != 4096; ++i) { // the first one is slow
            partial_reduction<rules> p(tools);
            p.add(i, counted(live));
            tree.add(p);
            most = std::max(most, live);
        }
    }
    CHECK(most <= 2 * 12); // one for each level of the tree, and those at hand
    CHECK(live == 0);
}

namespace {

struct arrived {
    explicit arrived(const outgoing& m) : copy(m) {}
    support::message_copy copy;
    decoder from{incoming(copy.stream, copy.blocks)};
};

/// The error of reading a description that was written by hand.
template <class Write>
std::string refused(Write write) {
    const std::plus<> combine;
    const reduction_tools<sum_rules> tools{combine, nullptr};
    outgoing message;
    encoder to(message);
    write([&](std::uint64_t x) { message.put(x); }, [&](double x) { joblot::detail::encode(to, x); });
    arrived here(message);
    partial_reduction<sum_rules> p(tools);
    try {
        read_partial(here.from, p, 2048, 8192, 2048);
    } catch (const serialization_error& e) {
        return e.what();
    }
    return "";
}

} // namespace

TEST_CASE("What was made in another process comes back whole", "[reduction]") {
    const std::plus<> combine;
    const reduction_tools<sum_rules> tools{combine, nullptr};
    reduction_tree<sum_rules> tree(tools);
    std::mt19937 random(11);
    in_batches(9000, 2500, random, [&](std::size_t begin, std::size_t end) {
        partial_reduction<sum_rules> there(tools);
        for (std::size_t i = begin; i != end; ++i) there.add(i, term(i));
        outgoing message;
        encoder to(message);
        write_partial(to, there);
        arrived here(message);
        partial_reduction<sum_rules> p(tools);
        read_partial(here.from, p, begin, end, end - begin);
        CHECK(here.from.message().remaining() == 0);
        tree.add(p);
    });
    CHECK(tree.take() == combined(tools, 9000, 9000, 0, term));
}

TEST_CASE("What no worker can have made is refused", "[reduction]") {
    const auto is_refused = [](const std::string& error, const std::string& why) {
        INFO(error);
        CHECK(error.find(why) != std::string::npos);
    };
    CHECK(refused([](auto u, auto d) { u(1), u(0), u(2048), u(4096), d(1); }).empty());
    CHECK(refused([](auto u, auto d) { u(2), u(0), u(2048), u(3072), d(1), u(3072), u(4096), d(1); }).empty());
    const std::string not_asked = "not asked for";
    is_refused(refused([](auto u, auto d) { u(1), u(0), u(0), u(2048), d(1); }), not_asked);
    is_refused(refused([](auto u, auto d) { u(1), u(0), u(8192), u(10240), d(1); }), not_asked);
    is_refused(refused([](auto u, auto d) { u(1), u(0), u(4096), u(4096), d(1); }), not_asked);
    is_refused(refused([](auto u, auto d) { u(2), u(0), u(2048), u(4096), d(1), u(2048), u(4096), d(1); }), not_asked);
    is_refused(refused([](auto u, auto d) { u(1), u(0), u(2049), u(3072), d(1); }), "no node has");
    is_refused(refused([](auto u, auto d) { u(1), u(0), u(3072), u(5120), d(1); }), "no node has");
    is_refused(refused([](auto u, auto) { u(0), u(1), u(3000), u(4000); }), "more than one leaf");
    is_refused(refused([](auto u, auto d) { u(1), u(0), u(2048), u(3072), d(1); }), "more or fewer");
    CHECK_FALSE(refused([](auto u, auto) { u(1), u(0), u(2048), u(4096); }).empty());
    CHECK_FALSE(refused([](auto u, auto) { u(~std::uint64_t{0}), u(0); }).empty());
    CHECK_FALSE(refused([](auto u, auto) { u(0), u(~std::uint64_t{0}); }).empty());
}

TEST_CASE("combine may give a value, change the first one, or give that back", "[reduction]") {
    using joblot::detail::reduction_rules;
    const auto check = [](auto combine) {
        using rules = reduction_rules<std::vector<int>, std::vector<int>, decltype(combine)>;
        const reduction_tools<rules> tools{combine, nullptr};
        std::vector<int> a{1, 2};
        tools.combine_into(a, std::vector<int>{3});
        CHECK(a == std::vector<int>{1, 2, 3});
    };
    const auto append = [](std::vector<int>& a, const std::vector<int>& b) { a.insert(a.end(), b.begin(), b.end()); };
    check(append);
    check([&](std::vector<int> a, const std::vector<int>& b) {
        append(a, b);
        return a;
    });
    check([&](std::vector<int>& a, std::vector<int>&& b) -> std::vector<int>& {
        append(a, b);
        return a;
    });
    check([&](auto&& a, auto&& b) -> auto&& {
        append(a, b);
        return std::move(a);
    });
    check([&](const std::vector<int>& a, const std::vector<int>& b) {
        auto c = a;
        append(c, b);
        return c;
    });
}
