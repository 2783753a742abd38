// SPDX-License-Identifier: BSL-1.0
// A program that uses much of joblot, for what compilers say of the headers when they are asked for everything.
#include <joblot/cereal.hpp>
#include <joblot/dask.hpp>
#include <joblot/dask/engine.hpp>
#include <joblot/joblot.hpp>
#include <joblot/per_worker.hpp>
#include <joblot/random.hpp>
#include <joblot/stop_on_signal.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

using joblot::delayed, joblot::Parallel;

namespace {

struct plain {
    double a = 0;
    int b = 0;
};
struct record { // an aggregate of what travels in many ways
    std::string name;
    std::map<std::string, std::vector<plain>> parts;
    std::optional<std::variant<int, std::string>> choice;
    std::tuple<bool, char, float> small;
    std::shared_ptr<const std::vector<double>> numbers;
};
class own {
public:
    own() = default;
    explicit own(int v) : value_(v) {}
    template <class Archive>
    void serialize(Archive& ar) {
        ar(value_);
    }

private:
    int value_ = 0;
};

record make(int i) {
    if (i < 0) throw std::out_of_range("negative");
    return {std::to_string(i), {}, {}, {}, {}};
}
own add(const own&, std::span<const double> more) { return own(static_cast<int>(more.size())); }
std::unique_ptr<int> moved(std::unique_ptr<int> p) { return p; }
void nothing(int) {}

auto numbers() { return std::views::iota(0, 9); }

std::size_t calls(const joblot::backend_choice& backend) {
    const Parallel parallel({.n_jobs = 2,
                             .backend = backend,
                             .progress = joblot::progress_bar(),
                             .batch_size = joblot::auto_batch,
                             .timeout = std::chrono::seconds(9),
                             .retries = 1,
                             .label = "calls"});
    std::size_t all = parallel(numbers() | std::views::transform(delayed(make))).size();
    parallel(numbers() | std::views::transform(delayed(nothing)));
    all += parallel.map(make, numbers()).size();
    for (const auto& o : parallel.outcomes(numbers() | std::views::transform(delayed(make)))) all += o ? 1 : 0;
    const auto [first, second] = parallel(delayed(make)(1), delayed(add)(own(2), std::vector<double>(3)));
    const auto table = joblot::broadcast(std::vector<double>(9));
    all += parallel(numbers() | std::views::transform([&](int i) { return delayed(add)(own(i), table); })).size();
    return all + first.name.size();
}

std::size_t streams() {
    std::size_t all = 0;
    const Parallel parallel({.n_jobs = 2});
    for (const record& r : parallel.generator(numbers() | std::views::transform(delayed(make)))) all += r.name.size();
    for (const auto& [index, r] : parallel.generator_unordered(numbers() | std::views::transform(delayed(make))))
        all += index + r.name.size();
    const auto [one] = parallel(delayed(moved)(std::make_unique<int>(1)));
    return all + static_cast<std::size_t>(*one);
}

struct counted {
    using bins = std::map<std::string, int>;
    void operator()(bins& all, const record& one) const { ++all[one.name]; }
    void operator()(bins& all, const bins& more) const {
        for (const auto& [name, n] : more) all[name] += n;
    }
};
double draws(int n, std::vector<double>& scratch) {
    auto rng = joblot::this_task::rng(7);
    scratch.assign(1, joblot::normal(rng) + joblot::exponential(rng) + joblot::uniform01(rng));
    joblot::shuffle(scratch, rng);
    return scratch.front() + joblot::uniform_int(rng, 0, n);
}

std::size_t reductions() {
    const Parallel parallel({.n_jobs = 2});
    const joblot::per_worker<std::vector<double>> scratch;
    const auto task = [&](int i) { return delayed(draws)(i, scratch); };
    const double sum = parallel.reduce(numbers() | std::views::transform(task), 0.0, std::plus<>());
    const auto names =
        parallel.reduce_outcomes(numbers() | std::views::transform(delayed(make)), counted::bins(), counted());
    parallel.for_each(numbers() | std::views::transform(delayed(nothing)));
    std::size_t all = names.value.size() + names.failures.size() + (sum > 0);
    parallel.into(numbers() | std::views::transform(delayed(make)),
                  [&](std::size_t index, const record& r) { all += index + r.name.size(); });
    return all;
}

std::size_t cluster() {
    joblot::dask::Client client;
    client.wait_for_workers(1, std::chrono::seconds(9));
    return calls(joblot::dask::backend{.client = &client});
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    joblot::register_exception<std::logic_error>();
    const joblot::stop_on_signal guard{SIGINT};
    return calls(joblot::processes{.n_jobs = 2}) + calls("threads") + streams() + reductions() + cluster() == 0;
}
