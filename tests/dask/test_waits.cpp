// SPDX-License-Identifier: BSL-1.0
// What a call waits for before its first task runs: a scheduler that does not answer, workers that do not come, what
// another call is doing. A stop, a deadline and the end of an outer task end each of these waits.

#include "cluster.hpp"
#include "failure.hpp"

#include <joblot/dask/client.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <exception>
#include <functional>
#include <future>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::Parallel;
using support::dask_cluster;
using support::right_value;
using support::tasks_in_call;

// What is waited for would last so long, if nothing ended it: longer than the watchdog lets a test last.
constexpr auto for_ever = 1h;

/// A port where connections are made and nobody ever says anything.
class silent_port {
public:
    silent_port() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in here{};
        here.sin_family = AF_INET;
        here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof here;
        REQUIRE(::bind(socket_, reinterpret_cast<sockaddr*>(&here), size) == 0);
        REQUIRE(::listen(socket_, 100) == 0);
        REQUIRE(::getsockname(socket_, reinterpret_cast<sockaddr*>(&here), &size) == 0);
        port_ = ntohs(here.sin_port);
    }
    ~silent_port() { ::close(socket_); }
    std::string address() const { return "tcp://127.0.0.1:" + std::to_string(port_); }

private:
    int socket_;
    int port_ = 0;
};

joblot::options for_call(const joblot::dask::backend& on) {
    joblot::options o{.backend = on};
    o.batch_size = 1;
    return o;
}

/// The ways to make a call.
const std::vector<std::pair<std::string, std::function<void(const joblot::options&)>>> calls{
    {"map", [](const joblot::options& o) { Parallel{o}.map(right_value, views::iota(0, tasks_in_call)); }},
    {"stream",
     [](const joblot::options& o) {
         Parallel{o}(views::iota(0, tasks_in_call) | views::filter([](int i) { return i >= 0; }) |
                     views::transform(joblot::delayed(right_value)));
     }},
    {"generator", [](const joblot::options& o) {
         for (int i :
              Parallel{o}.generator(views::iota(0, tasks_in_call) | views::transform(joblot::delayed(right_value))))
             static_cast<void>(i);
     }}};

/// A call that waits ends by a stop, by its deadline, and by the stop of the task that makes it.
void check_ends(const joblot::dask::backend& on) {
    for (const auto& [name, make] : calls) {
        CAPTURE(name);
        {
            std::stop_source source;
            auto one = std::async(std::launch::async, [&] {
                joblot::options o = for_call(on);
                o.stop = source.get_token();
                make(o);
            });
            CHECK(one.wait_for(200ms) == std::future_status::timeout);
            auto second = std::async(std::launch::async, [&] { // may wait for what the first one does
                joblot::options o = for_call(on);
                o.stop = source.get_token();
                make(o);
            });
            CHECK(second.wait_for(100ms) == std::future_status::timeout);
            source.request_stop();
            CHECK_THROWS_AS(one.get(), joblot::cancelled);
            CHECK_THROWS_AS(second.get(), joblot::cancelled);
        }
        {
            joblot::options o = for_call(on);
            o.deadline = 200ms;
            CHECK_THROWS_AS(make(o), joblot::timeout_error);
        }
        {
            std::stop_source source;
            std::promise<void> begun;
            auto outer = std::async(std::launch::async, [&] {
                std::string inside = "nothing was thrown";
                const auto task = [&](int) {
                    begun.set_value();
                    try {
                        make(for_call(on));
                    } catch (const joblot::cancelled&) {
                        inside = "cancelled";
                    } catch (const std::exception& e) {
                        inside = e.what();
                    }
                };
                try {
                    Parallel({.backend = joblot::threads{}, .stop = source.get_token()}).map(task, views::iota(0, 1));
                } catch (const joblot::cancelled&) { // a task that ends is not ended by it
                }
                return inside;
            });
            begun.get_future().wait();
            CHECK(outer.wait_for(200ms) == std::future_status::timeout);
            source.request_stop();
            CHECK(outer.get() == "cancelled");
        }
    }
}

} // namespace

TEST_CASE("a call ends though the scheduler does not answer", "[waits]") {
    const silent_port nobody;
    check_ends(support::on(nobody.address()));
}

TEST_CASE("a call ends though its cluster has no worker, and leaves nothing there", "[waits]") {
    dask_cluster cluster(0);
    joblot::dask::backend on = support::on(cluster);
    on.wait_for_workers_timeout = for_ever;
    check_ends(on);
    support::check_clean(cluster);
}

TEST_CASE("a call ends though its cluster has no worker of a name, and leaves nothing there", "[waits]") {
    dask_cluster cluster(0);
    joblot::dask::backend on = support::on(cluster);
    on.wait_for_workers_timeout = for_ever;
    on.workers = {"of some name"};
    check_ends(on);
    support::check_clean(cluster);
}

TEST_CASE("a call ends though a scheduler that was there stands still", "[waits]") {
    dask_cluster cluster(1);
    const joblot::dask::Client client(cluster.address(), {.liveness_timeout = for_ever});
    joblot::dask::backend on{.client = &client};
    cluster.scheduler().signal(SIGSTOP);
    check_ends(on);
    on.workers = {"worker-1"};
    check_ends(on);
    cluster.scheduler().signal(SIGCONT);
    CHECK(support::all_right(Parallel(for_call(on)).map(right_value, views::iota(0, tasks_in_call))));
}

TEST_CASE("a call that runs ends though its scheduler stands still", "[waits]") {
    dask_cluster cluster(1);
    const joblot::dask::Client client(cluster.address(), {.liveness_timeout = for_ever});
    const support::scratch_dir dir;
    const auto begun = [](int i, const std::string& in) {
        support::publish(in + "/" + std::to_string(i), "");
        support::sleep_for_ever();
    };
    std::stop_source source;
    auto call = std::async(std::launch::async, [&] {
        joblot::options o = for_call({.client = &client});
        o.stop = source.get_token();
        Parallel{o}(views::iota(0, tasks_in_call) |
                    views::transform([&](int i) { return joblot::delayed(begun)(i, dir.path()); }));
    });
    CHECK(support::eventually([&] { return support::exists(dir.file("0")); }));
    cluster.scheduler().signal(SIGSTOP);
    CHECK(call.wait_for(1500ms) == std::future_status::timeout); // it looks at the workers every second
    source.request_stop();
    CHECK_THROWS_AS(call.get(), joblot::cancelled);
    cluster.scheduler().signal(SIGCONT);
    support::check_clean(cluster);
}
