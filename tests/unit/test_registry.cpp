// SPDX-License-Identifier: BSL-1.0
// The table of backend names, without any call.

#include "../support/messages.hpp"

#include <joblot/backend/registry.hpp>

#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <stdexcept>
#include <string>

namespace {

using joblot::backend_options;
using joblot::register_backend;
using joblot::detail::backend_registry;

class named_backend final : public joblot::backend {
public:
    explicit named_backend(std::string name) : name_{std::move(name)} {}
    std::string name() const override { return name_; }
    int effective_n_jobs(int n) const override { return n; }
    void run(joblot::job&) override {}

private:
    std::string name_;
};

std::shared_ptr<joblot::backend> make(std::string_view name, const backend_options& options = {}) {
    return backend_registry::instance().make(name, options);
}

/// A factory with a look at the table whenever it is copied or destroyed.
struct curious {
    curious() = default;
    curious(const curious&) { look(); }
    curious& operator=(const curious&) = delete;
    ~curious() { look(); }
    static void look() {
        register_backend("unit_looked_at", [] { return std::make_shared<named_backend>("x"); });
    }
    std::shared_ptr<joblot::backend> operator()() const { return std::make_shared<named_backend>("curious"); }
};

} // namespace

TEST_CASE("a factory is called for each use of the name, with the options", "[registry]") {
    int made = 0;
    register_backend("unit_counted", [&made](const backend_options& given) {
        ++made;
        return std::make_shared<named_backend>(given.address + "/" + std::to_string(given.n_jobs.value_or(0)));
    });
    CHECK(made == 0);
    CHECK(make("unit_counted", {.n_jobs = 3, .address = "here"})->name() == "here/3");
    CHECK(make("unit_counted")->name() == "/0");
    CHECK(made == 2);
    register_backend("unit_counted", [] { return std::make_shared<named_backend>("replaced"); });
}

TEST_CASE("an address after a colon goes before that of the options", "[registry]") {
    register_backend("unit_addressed",
                     [](const backend_options& given) { return std::make_shared<named_backend>(given.address); });
    CHECK(make("unit_addressed:tcp://10.0.0.1:8786")->name() == "tcp://10.0.0.1:8786");
    CHECK(make("unit_addressed:b", {.address = "a"})->name() == "b");
    CHECK(make("unit_addressed", {.address = "a"})->name() == "a");
    CHECK(make("unit_addressed:")->name() == "");
}

TEST_CASE("a later registration replaces an earlier one, a default one does not", "[registry]") {
    register_backend("unit_replaced", [] { return std::make_shared<named_backend>("first"); });
    register_backend("unit_replaced", [] { return std::make_shared<named_backend>("second"); });
    CHECK(make("unit_replaced")->name() == "second");
    backend_registry::instance().set_default(
        "unit_replaced", [](const backend_options&) { return std::make_shared<named_backend>("default"); });
    CHECK(make("unit_replaced")->name() == "second");
}

TEST_CASE("unknown names are refused with the list of known ones", "[registry]") {
    register_backend("unit_known", [] { return std::make_shared<named_backend>("known"); });
    CHECK(support::mentions(support::refusal([] { make("unit_unknown"); }), {"\"unit_unknown\"", "unit_known"}));
    CHECK_THROWS_AS(make(""), std::invalid_argument);
    CHECK_THROWS_AS(make(":address"), std::invalid_argument);
}

TEST_CASE("names that could never be used are refused at registration", "[registry]") {
    const auto factory = [] { return std::make_shared<named_backend>("x"); };
    CHECK_THROWS_AS(register_backend("", factory), std::invalid_argument);
    CHECK_THROWS_AS(register_backend("with:colon", factory), std::invalid_argument);
}

TEST_CASE("a factory that returns nothing is a backend_error, one that throws is heard", "[registry]") {
    register_backend("unit_null", [] { return std::shared_ptr<joblot::backend>{}; });
    CHECK_THROWS_AS(make("unit_null"), joblot::backend_error);
    register_backend("unit_throws", []() -> std::shared_ptr<joblot::backend> { throw joblot::backend_error{"no"}; });
    CHECK_THROWS_AS(make("unit_throws"), joblot::backend_error);
}

TEST_CASE("a factory may register another backend", "[registry]") {
    register_backend("unit_lazy", [] {
        register_backend("unit_lazy", [] { return std::make_shared<named_backend>("loaded"); });
        return make("unit_lazy");
    });
    CHECK(make("unit_lazy")->name() == "loaded");
}

TEST_CASE("factories are copied and destroyed outside of the table's lock", "[registry]") {
    register_backend("unit_curious", curious());
    CHECK(make("unit_curious")->name() == "curious");
    register_backend("unit_curious", curious());
    CHECK(make("unit_curious")->name() == "curious");
}
