// SPDX-License-Identifier: BSL-1.0
// cpu_count: cgroup files of both versions in a made-up /proc and /sys, and the numbers that follow.

#include <joblot/backend/backend.hpp>
#include <joblot/cpu_count.hpp>

#include <catch2/catch_test_macros.hpp>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>

namespace {

using joblot::detail::cgroup_cpus;
using joblot::detail::cpus_of_quota;
using joblot::detail::resolve_n_jobs;
namespace fs = std::filesystem;

// A folder that stands for "/" and is removed at the end.
class fake_root {
public:
    fake_root() {
        std::string pattern = (fs::temp_directory_path() / "joblot-cgroup-XXXXXX").string();
        if (!::mkdtemp(pattern.data())) throw std::runtime_error{"mkdtemp failed"};
        path_ = pattern;
    }
    ~fake_root() { fs::remove_all(path_); }
    fake_root(const fake_root&) = delete;
    fake_root& operator=(const fake_root&) = delete;

    void write(const std::string& file, const std::string& text) const {
        fs::create_directories(fs::path{path_ + file}.parent_path());
        std::ofstream{path_ + file} << text;
    }
    std::optional<int> cpus() const { return cgroup_cpus(path_); }

private:
    std::string path_;
};

} // namespace

TEST_CASE("a quota is rounded up to whole CPUs", "[cpu_count]") {
    CHECK(cpus_of_quota(100'000, 100'000) == 1);
    CHECK(cpus_of_quota(100'001, 100'000) == 2);
    CHECK(cpus_of_quota(250'000, 100'000) == 3);
    CHECK(cpus_of_quota(1, 100'000) == 1);
    CHECK(cpus_of_quota(std::numeric_limits<long long>::max(), 1) > 0);
    CHECK_FALSE(cpus_of_quota(-1, 100'000).has_value());
    CHECK_FALSE(cpus_of_quota(0, 100'000).has_value());
    CHECK_FALSE(cpus_of_quota(100'000, 0).has_value());
}

TEST_CASE("cgroup v2: the tightest limit on the way up", "[cpu_count]") {
    const fake_root root;
    root.write("/proc/self/cgroup", "0::/user/session\n");
    CHECK_FALSE(root.cpus().has_value());
    root.write("/sys/fs/cgroup/user/session/cpu.max", "max 100000\n");
    CHECK_FALSE(root.cpus().has_value());
    root.write("/sys/fs/cgroup/user/session/cpu.max", "600000 100000\n");
    CHECK(root.cpus() == 6);
    root.write("/sys/fs/cgroup/user/cpu.max", "150000 100000\n");
    CHECK(root.cpus() == 2);
    root.write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
    CHECK(root.cpus() == 1);
}

TEST_CASE("cgroup v2: a container that sees its own root only", "[cpu_count]") {
    const fake_root root;
    root.write("/proc/self/cgroup", "0::/docker/not/visible/here\n");
    root.write("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    CHECK(root.cpus() == 3);
    root.write("/proc/self/cgroup", "0::/\n");
    CHECK(root.cpus() == 3);
    root.write("/proc/self/cgroup", "0::/../..\n");
    CHECK(root.cpus() == 3);
}

TEST_CASE("cgroup v1: the cpu controller among others", "[cpu_count]") {
    const fake_root root;
    root.write("/proc/self/cgroup", "5:memory:/m\n4:cpuset:/set\n3:cpu,cpuacct:/group\n");
    root.write("/sys/fs/cgroup/cpu/group/cpu.cfs_quota_us", "250000\n");
    root.write("/sys/fs/cgroup/cpu/group/cpu.cfs_period_us", "100000\n");
    CHECK(root.cpus() == 3);
    root.write("/sys/fs/cgroup/cpu/group/cpu.cfs_quota_us", "-1\n");
    CHECK_FALSE(root.cpus().has_value());
}

TEST_CASE("cgroup files with nonsense in them are no limit", "[cpu_count]") {
    const fake_root root;
    CHECK_FALSE(root.cpus().has_value());
    for (const char* text : {"", "\n", "0:\n", "garbage\n", ":::\n", "0::", "0::relative\n"}) {
        INFO(text);
        root.write("/proc/self/cgroup", text);
        CHECK_FALSE(root.cpus().has_value());
    }
    root.write("/proc/self/cgroup", "0::/a\n");
    for (const char* text : {"", "x y\n", "100000\n", "-5 100000\n", "100000 0\n", "99999999999999999999 1\n"}) {
        INFO(text);
        root.write("/sys/fs/cgroup/a/cpu.max", text);
        const auto cpus = root.cpus();
        CHECK((!cpus || *cpus >= 1));
    }
}

TEST_CASE("this machine has at least one CPU, the same one each time", "[cpu_count]") {
    CHECK(joblot::cpu_count() >= 1);
    CHECK(joblot::cpu_count() == joblot::cpu_count());
}

TEST_CASE("numbers in the environment", "[cpu_count]") {
    const char* name = "JOBLOT_TEST_NUMBER";
    const auto read = [name](const char* text) {
        ::setenv(name, text, 1);
        return joblot::detail::positive_from_environment(name);
    };
    ::unsetenv(name);
    CHECK_FALSE(joblot::detail::positive_from_environment(name).has_value());
    CHECK_FALSE(read("").has_value());
    CHECK(read("1") == 1);
    CHECK(read("12") == 12);
    for (const char* bad : {"0", "-1", "2x", "x", "1.5", "99999999999999999999", " "})
        CHECK_THROWS_AS(read(bad), std::invalid_argument);
    ::unsetenv(name);
}

TEST_CASE("joblib's rule for negative numbers of jobs", "[cpu_count]") {
    CHECK(resolve_n_jobs(5, 8) == 5);
    CHECK(resolve_n_jobs(100, 8) == 100);
    CHECK(resolve_n_jobs(-1, 8) == 8);
    CHECK(resolve_n_jobs(-2, 8) == 7);
    CHECK(resolve_n_jobs(-8, 8) == 1);
    CHECK(resolve_n_jobs(-100, 8) == 1);
    CHECK(resolve_n_jobs(std::numeric_limits<int>::min(), 8) == 1);
    CHECK(resolve_n_jobs(-1, 1) == 1);
}
