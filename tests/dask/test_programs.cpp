// SPDX-License-Identifier: BSL-1.0
// Whole programs on a cluster: linked at a fixed address, statically; and one that never calls init.

#include "cluster.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <sys/wait.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace {

using support::shared_cluster;

std::string program(const std::string& name) { return JOBLOT_TEST_DASK_PROGRAMS "/joblot_dask_" + name; }

/// Runs a program on the shared cluster; its exit status, and what it wrote.
std::pair<int, std::string> run(const std::string& name, std::initializer_list<std::string> more = {}) {
    const support::scratch_dir dir;
    std::vector<std::string> command{program(name), shared_cluster().address()};
    command.insert(command.end(), more);
    support::process child(std::move(command), dir.file("log"));
    const int status = child.wait();
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, support::read_all(dir.file("log"))};
}

} // namespace

TEST_CASE("a program runs on workers however it is linked", "[calls]") {
    const std::string name = GENERATE("loop", "loop_static");
    const auto clients_before = shared_cluster().clients();
    const auto [status, output] = run(name);
    INFO(name << ": " << output);
    CHECK(status == 0);
    support::check_clean(shared_cluster());
    CHECK(support::eventually([&] { return shared_cluster().clients() == clients_before; }));
}

TEST_CASE("a program that was started without stdin, stdout and stderr prints into no connection", "[calls]") {
    const support::scratch_dir dir;
    const std::string closed = R"(exec "$0" "$1" <&- >&- 2>&-)";
    support::process child({"/bin/sh", "-c", closed, program("loop"), shared_cluster().address()}, dir.file("log"));
    const int status = child.wait();
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
    support::check_clean(shared_cluster());
}

TEST_CASE("two programs of one build that come to a fresh cluster at the same time", "[calls]") {
    for (int round = 0; round != 3; ++round) {
        support::dask_cluster cluster(2);
        const support::scratch_dir dir;
        support::process one({program("loop"), cluster.address()}, dir.file("one"));
        support::process other({program("loop"), cluster.address()}, dir.file("other"));
        const int one_ended = one.wait(), other_ended = other.wait();
        INFO(support::read_all(dir.file("one")) << support::read_all(dir.file("other")));
        CHECK(one_ended == 0);
        CHECK(other_ended == 0);
        support::check_clean(cluster);
    }
}

TEST_CASE("a program without init is refused, and told the line to add", "[calls]") {
    const auto [status, output] = run("loop", {"--no-init"});
    INFO(output);
    CHECK(status == 1);
    CHECK(output.find("joblot::init(argc, argv)") != std::string::npos);
    support::check_clean(shared_cluster());
}
