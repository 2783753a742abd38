// SPDX-License-Identifier: BSL-1.0
// JOBLOT_BACKEND, JOBLOT_N_JOBS and JOBLOT_CPU_COUNT: below any guard, above the defaults. Each case runs in a child
// that has not used joblot before, since the environment may be read once.

#include "program.hpp"

#include <sys/wait.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using environment = std::vector<std::pair<const char*, const char*>>;

template <class Check>
void in_fresh_process(const char* what, const environment& variables, Check check) {
    const pid_t child = ::fork();
    if (child == 0) {
        program::watchdog();
        for (const auto& [name, value] : variables) ::setenv(name, value, 1);
        bool right = false;
        try {
            right = check();
        } catch (const std::exception& e) {
            std::fprintf(stderr, "%s: %s\n", what, e.what());
        }
        std::_Exit(right ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    program::require(status == 0, what);
}

template <class Call>
bool refused(Call call, const char* must_contain) {
    try {
        call();
    } catch (const std::invalid_argument& e) {
        return std::string{e.what()}.find(must_contain) != std::string::npos;
    }
    return false;
}

class marked_backend final : public joblot::backend {
public:
    explicit marked_backend(std::string address) : address_{std::move(address)} {}
    std::string name() const override { return "Marked at " + address_; }
    int effective_n_jobs(int n) const override { return n == -1 && address_ == "tcp://10.0.0.1:8786" ? 77 : 3; }
    void run(joblot::job& job) override {
        do job.work(0);
        while (job.wait());
    }

private:
    std::string address_;
};

} // namespace

int main() {
    for (const char* name : {"JOBLOT_BACKEND", "JOBLOT_N_JOBS", "JOBLOT_CPU_COUNT"}) ::unsetenv(name);
    using joblot::effective_n_jobs;
    in_fresh_process("JOBLOT_CPU_COUNT", {{"JOBLOT_CPU_COUNT", "5"}}, [] {
        return joblot::cpu_count() == 5 && effective_n_jobs() == 5 && effective_n_jobs(-2) == 4 && program::call(-1);
    });
    in_fresh_process("JOBLOT_CPU_COUNT that is no number", {{"JOBLOT_CPU_COUNT", "many"}},
                     [] { return refused([] { (void)joblot::cpu_count(); }, "many"); });
    in_fresh_process("JOBLOT_N_JOBS", {{"JOBLOT_N_JOBS", "6"}}, [] {
        const bool below_guards = [] {
            const joblot::parallel_backend guard{{.n_jobs = 2}};
            return effective_n_jobs() == 2;
        }();
        return effective_n_jobs() == 6 && below_guards && effective_n_jobs(3) == 3 && program::call();
    });
    in_fresh_process("JOBLOT_N_JOBS = 0", {{"JOBLOT_N_JOBS", "0"}}, [] {
        return refused([] { (void)effective_n_jobs(); }, "JOBLOT_N_JOBS") &&
               refused([] { joblot::Parallel{}(joblot::delayed(program::square)(1)); }, "JOBLOT_N_JOBS");
    });
    in_fresh_process("JOBLOT_BACKEND = sequential", {{"JOBLOT_BACKEND", "sequential"}}, [] {
        const bool below_guards = [] {
            const joblot::parallel_backend guard{joblot::threads{}};
            return effective_n_jobs(4) == 4;
        }();
        return effective_n_jobs(4) == 1 && below_guards && program::call();
    });
    in_fresh_process("JOBLOT_BACKEND = name:address of a registered one",
                     {{"JOBLOT_BACKEND", "marked:tcp://10.0.0.1:8786"}}, [] {
                         joblot::register_backend("marked", [](const joblot::backend_options& given) {
                             return std::make_shared<marked_backend>(given.address);
                         });
                         return effective_n_jobs(-1) == 77 && program::call();
                     });
    in_fresh_process("JOBLOT_BACKEND that is unknown", {{"JOBLOT_BACKEND", "no_such_backend"}}, [] {
        return refused([] { joblot::Parallel{}(joblot::delayed(program::square)(1)); }, "no_such_backend");
    });
    in_fresh_process("empty variables count as unset",
                     {{"JOBLOT_BACKEND", ""}, {"JOBLOT_N_JOBS", ""}, {"JOBLOT_CPU_COUNT", ""}},
                     [] { return effective_n_jobs() == joblot::cpu_count() && program::call(); });
}
