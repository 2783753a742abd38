// SPDX-License-Identifier: BSL-1.0
// Tasks on a cluster that fail, crash, last too long or are not wanted any more: what the caller sees, and that the
// cluster has forgotten them afterwards.

#include "cluster.hpp"

#include <csignal>
#include <future>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::on_cluster;
using support::right_value;
using support::shared_cluster;
using support::victim;

joblot::options big_batches() { return support::big_batches(on_cluster()); }

struct odd_error {}; // no std::exception, and nobody made it known

int throws_runtime(int i) {
    if (i == victim) throw std::runtime_error("no value for " + std::to_string(i));
    return right_value(i);
}
int throws_odd(int i) {
    if (i == victim) throw odd_error{};
    return right_value(i);
}
int throws_once(int i, const std::string& dir) {
    if (i == victim && support::first_to_create(dir + "/thrown")) throw std::runtime_error("only once");
    return right_value(i);
}
int dies(int i, int signal) {
    if (i == victim) {
        std::fprintf(stderr, "last words of task %d\n", i);
        std::signal(signal, SIG_DFL);
        std::raise(signal);
    }
    return right_value(i);
}
int exits(int i) {
    if (i == victim) ::_exit(3);
    return right_value(i);
}
int dies_once(int i, const std::string& dir) {
    if (i == victim && support::first_to_create(dir + "/died")) ::_exit(4);
    return right_value(i);
}
int lasts_too_long(int i) {
    if (i == victim) support::sleep_for_ever();
    return right_value(i);
}
int lasts_too_long_once(int i, const std::string& dir) {
    if (i == victim && support::first_to_create(dir + "/slept")) support::sleep_for_ever();
    return right_value(i);
}
int for_ever(int i, const std::string& dir) {
    support::publish(dir + "/" + std::to_string(i), std::to_string(::getpid()));
    support::sleep_for_ever();
    return i;
}

/// The processes of the tasks that have begun are gone, and the cluster works, with nothing of ours left.
void check_ended(const std::string& dir) {
    for (const auto& entry : std::filesystem::directory_iterator(dir)) {
        const pid_t pid = support::await_pid(entry.path().string());
        CHECK(support::eventually([&] { return support::is_gone(pid); }));
    }
    support::check_clean(shared_cluster());
    CHECK(support::pool_works(Parallel(big_batches())));
}

} // namespace

TEST_CASE("an exception on a worker is the caller's, alone", "[endings]") {
    support::check_isolated<std::runtime_error>(
        big_batches(), delayed(throws_runtime, "ill-fated"),
        [](const std::runtime_error& e) { CHECK(std::string(e.what()) == "no value for 4"); });
    support::check_clean(shared_cluster());
}

TEST_CASE("an exception of an unknown type says its type and its worker", "[endings]") {
    support::check_isolated<joblot::remote_error>(big_batches(), delayed(throws_odd, "ill-fated"),
                                                  [](const joblot::remote_error& e) {
                                                      CHECK(e.type_name().find("odd_error") != std::string::npos);
                                                      CHECK(!e.worker().empty());
                                                  });
    support::check_clean(shared_cluster());
}

TEST_CASE("a task that ends its process fails alone, with how the process ended", "[endings]") {
    support::check_isolated<joblot::worker_crashed>(
        big_batches(), [](int i) { return delayed(dies, "ill-fated")(i, SIGSEGV); },
        [](const joblot::worker_crashed& e) {
            if (!support::under_asan && !support::under_tsan) CHECK(e.signal() == SIGSEGV);
            CHECK(e.stderr_tail().find("last words of task 4\n") != std::string::npos);
        });
    support::check_isolated<joblot::worker_crashed>(
        big_batches(), delayed(exits, "ill-fated"),
        [](const joblot::worker_crashed& e) { CHECK(e.exit_status() == 3); });
    support::check_clean(shared_cluster());
}

TEST_CASE("a task that fails once succeeds when it is tried again", "[endings]") {
    const support::scratch_dir dir;
    support::check_retried(big_batches(), [&](int i) { return delayed(throws_once)(i, dir.path()); });
    support::check_retried(big_batches(), [&](int i) { return delayed(dies_once)(i, dir.path()); });
    joblot::options limited = big_batches();
    limited.timeout = std::chrono::seconds(1);
    support::check_retried(limited, [&](int i) { return delayed(lasts_too_long_once)(i, dir.path()); });
    for (const char* file : {"thrown", "died", "slept"}) CHECK(support::exists(dir.file(file)));
    support::check_clean(shared_cluster());
}

TEST_CASE("a task beyond its time limit is killed, alone", "[endings]") {
    joblot::options limited = big_batches();
    limited.timeout = std::chrono::seconds(1);
    support::check_isolated<joblot::timeout_error>(
        limited, delayed(lasts_too_long, "ill-fated"),
        [](const joblot::timeout_error& e) { CHECK(e.limit() == std::chrono::seconds(1)); });
    support::check_clean(shared_cluster());
}

TEST_CASE("a call that is stopped ends its tasks wherever they run", "[endings]") {
    const support::scratch_dir dir;
    std::stop_source stop;
    const auto backend = on_cluster();
    auto call = std::async(std::launch::async, [&] {
        Parallel({.backend = backend, .batch_size = 1, .stop = stop.get_token()})(
            views::iota(0, 100) | views::transform([&](int i) { return delayed(for_ever)(i, dir.path()); }));
    });
    CHECK(support::await_pid(dir.file("0")) > 0);
    CHECK(support::await_pid(dir.file("3")) > 0);
    stop.request_stop();
    CHECK_THROWS_AS(call.get(), joblot::cancelled);
    check_ended(dir.path());
    CHECK(!support::exists(dir.file("99")));
}

TEST_CASE("a call that is stopped while its arguments are on their way leaves nothing on the cluster", "[endings]") {
    const auto size_of = [](const std::vector<char>& data) { return data.size(); };
    const auto backend = on_cluster();
    for (const int pause : {0, 3, 10, 30}) {
        std::stop_source stop;
        auto call = std::async(std::launch::async, [&] {
            Parallel({.backend = backend, .batch_size = 1, .stop = stop.get_token()})(
                views::iota(0, 1000) |
                views::transform([&](int) { return delayed(size_of)(std::vector<char>(4'000'000)); }));
        });
        std::this_thread::sleep_for(std::chrono::milliseconds(pause));
        stop.request_stop();
        CHECK_THROWS_AS(call.get(), joblot::cancelled);
    }
    support::check_clean(shared_cluster());
}

TEST_CASE("a generator that is dropped leaves nothing on the cluster", "[endings]") {
    const support::scratch_dir dir;
    const auto task = [](int i, const std::string& folder) {
        support::publish(folder + "/" + std::to_string(i), std::to_string(::getpid()));
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return i;
    };
    {
        auto results = Parallel({.backend = on_cluster(), .batch_size = 1})
                           .generator(views::iota(0, 1000) |
                                      views::transform([&](int i) { return delayed(task)(i, dir.path()); }));
        auto first = results.begin();
        CHECK(*first == 0);
        ++first;
        CHECK(*first == 1);
    }
    support::check_clean(shared_cluster());
    CHECK(!support::exists(dir.file("999")));
    CHECK(support::pool_works(Parallel(big_batches())));
}

TEST_CASE("what tasks print is in their worker's output, in whole lines", "[endings]") {
    Parallel({.backend = on_cluster(), .batch_size = 5})(views::iota(0, 20) | views::transform(delayed([](int i) {
                                                             const std::string filler(1000, 'x');
                                                             std::printf("out %d %s.\n", i, filler.c_str());
                                                             std::fprintf(stderr, "err %d %s.\n", i, filler.c_str());
                                                         })));
    const auto printed = [](const std::string& line) {
        return support::eventually([&] {
            const std::string all = support::read_all(shared_cluster().folder() + "/worker-1.log") +
                                    support::read_all(shared_cluster().folder() + "/worker-2.log");
            return all.find(line + std::string(1000, 'x') + ".\n") != std::string::npos;
        });
    };
    for (int i = 0; i != 20; ++i) {
        CHECK(printed("out " + std::to_string(i) + " "));
        CHECK(printed("err " + std::to_string(i) + " "));
    }
}

TEST_CASE("what cannot travel is refused before anything starts", "[endings]") {
    int captured = 1;
    CHECK_THROWS_AS(Parallel({.backend = on_cluster()})(views::iota(0, 4) | views::transform([&](int i) {
                                                            return delayed([&] { return captured + i; })();
                                                        })),
                    joblot::serialization_error);
    support::check_clean(shared_cluster());
}

TEST_CASE("nobody at the address, or an address that is none: an error that names it", "[endings]") {
    const auto message = [](const std::string& address) -> std::string {
        try {
            Parallel({.backend = joblot::dask::backend{.scheduler_host = address}}).map(right_value, views::iota(0, 4));
        } catch (const joblot::backend_error& e) {
            return e.what();
        }
        return "no error";
    };
    CHECK(message("tcp://127.0.0.1:9").find("127.0.0.1:9") != std::string::npos);
    CHECK(message("ftp://127.0.0.1:9").find("ftp://127.0.0.1:9") != std::string::npos);
}
