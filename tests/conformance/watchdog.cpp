// SPDX-License-Identifier: BSL-1.0
// Ends the test program with the test's name when one test case hangs: a deadlock must not look like a slow machine.

#include "../support/on_hang.hpp"

#include <catch2/catch_test_case_info.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr unsigned limit_seconds = 300;

std::string running; // written before the alarm is armed, read by its handler only

void hung(int) {
    const char text[] = "\nwatchdog: this test case hangs: ";
    [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, text, sizeof text - 1);
    written = ::write(STDERR_FILENO, running.data(), running.size());
    written = ::write(STDERR_FILENO, "\n", 1);
    if (support::on_hang) support::on_hang();
    std::abort();
}

class watchdog final : public Catch::EventListenerBase {
public:
    using EventListenerBase::EventListenerBase;

    void testCaseStarting(const Catch::TestCaseInfo& test) override {
        running = test.name;
        std::signal(SIGALRM, hung);
        ::alarm(limit_seconds);
    }
    void testCaseEnded(const Catch::TestCaseStats&) override { ::alarm(0); }
};

} // namespace

CATCH_REGISTER_LISTENER(watchdog)
