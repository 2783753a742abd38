// SPDX-License-Identifier: BSL-1.0
// However a worker's work is over, its static destructors and atexit functions run to their end; one that blocks in
// them does not keep the program.

#include "program.hpp"

#include <set>

namespace {

using joblot::Parallel;

struct at_end {
    bool armed = false;
    bool blocks = false;
    ~at_end() {
        if (blocks) program::sleep_for_ever();
        if (!armed) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(100)); // long after the socket was closed
        const char* const file = std::getenv("JOBLOT_TEST_FILE");
        if (std::FILE* const out = file ? std::fopen(file, "ae") : nullptr) {
            std::fprintf(out, "%d\n", ::getpid());
            std::fclose(out);
        }
    }
} object;

int arm(int) {
    object.armed = true;
    return program::own_pid(0);
}
int block(int) {
    object.blocks = true;
    return 0;
}

std::set<int> ended() {
    std::set<int> pids;
    if (std::FILE* const in = std::fopen(std::getenv("JOBLOT_TEST_FILE"), "re")) {
        for (int pid = 0; std::fscanf(in, "%d", &pid) == 1;) pids.insert(pid);
        std::fclose(in);
    }
    return pids;
}

int play(const std::string& role) {
    if (role == "blocked") {
        Parallel({.n_jobs = 1, .backend = "processes"}).map(block, std::views::iota(0, 1));
        return 0;
    }
    std::vector<int> pids;
    if (role == "exit") {
        pids = Parallel({.n_jobs = 2, .backend = "processes", .batch_size = 1}).map(arm, std::views::iota(0, 6));
    } else if (role == "replaced") {
        pids = Parallel({.n_jobs = 2, .backend = joblot::processes{.max_tasks_per_worker = 1}, .batch_size = 1})
                   .map(arm, std::views::iota(0, 4));
    } else {
        const joblot::processes short_lived{.idle_timeout = std::chrono::milliseconds(50)};
        pids = Parallel({.n_jobs = 2, .backend = short_lived, .batch_size = 1}).map(arm, std::views::iota(0, 4));
        program::require_gone(pids, "idle");
        program::require(program::eventually([&] { return ended() == std::set<int>(pids.begin(), pids.end()); }),
                         "destructors of idle workers");
    }
    for (const int pid : pids) program::tell(pid);
    return 0;
}

void check(const char* role) {
    char file[] = "/tmp/joblot-test-XXXXXX";
    ::close(::mkstemp(file));
    ::setenv("JOBLOT_TEST_FILE", file, 1);
    program::started parent(role);
    const auto pids = parent.numbers();
    program::require(program::end_of(parent.pid()) == 0, role);
    program::require(ended() == std::set<int>(pids.begin(), pids.end()), std::string("destructors: ") + role);
    ::unlink(file);
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    program::watchdog();
    if (argc > 1) return play(argv[1]);
    check("exit");
    check("replaced");
    check("idle");
    program::started blocked("blocked");
    program::require(program::end_of(blocked.pid()) == 0, "a destructor that blocks");
}
