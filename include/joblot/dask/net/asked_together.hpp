// SPDX-License-Identifier: BSL-1.0
// Questions about single keys that go out together: whoever asks waits for the answer to his own.
#pragma once

#include <joblot/dask/net/comm.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// For the session's thread alone. Held by what it has under way, too.
/// @tparam Answer What is answered of one key.
template <class Answer>
class asked_together : public std::enable_shared_from_this<asked_together<Answer>> {
public:
    using keys = std::vector<std::string>;
    /// How a question is put. Gives an answer for each key, in their order.
    using question = std::function<asio::awaitable<std::vector<Answer>>(const keys&)>;
    /// @param keys_at_once In one question. @param questions How many may be under way.
    asked_together(asio::any_io_executor executor, std::size_t keys_at_once, int questions, question put)
        : executor_(std::move(executor)), keys_at_once_(keys_at_once), questions_(questions), put_(std::move(put)) {}

    /// The answer for one key. Throws what the question throws.
    asio::awaitable<Answer> ask(std::string key) {
        const auto mine = std::make_shared<asker>(asker{std::move(key), asio::steady_timer(executor_)});
        waiting_.push_back(mine);
        if (under_way_ < questions_) {
            ++under_way_;
            asio::co_spawn(executor_, put_all(this->shared_from_this()), asio::detached);
        }
        mine->told.expires_at(asio::steady_timer::time_point::max());
        error_code cancelled;
        co_await mine->told.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
        if (mine->failure) std::rethrow_exception(mine->failure);
        co_return std::move(*mine->answer);
    }

private:
    struct asker {
        std::string key;
        asio::steady_timer told; // is cancelled when there is an answer, or a failure
        std::optional<Answer> answer{};
        std::exception_ptr failure{};
    };

    /// Until nobody waits: what comes while a question is answered goes out with the next.
    static asio::awaitable<void> put_all(std::shared_ptr<asked_together> self) {
        while (!self->waiting_.empty()) {
            const auto askers = self->take();
            keys all;
            for (const auto& a : askers) all.push_back(a->key);
            std::vector<Answer> answers;
            std::exception_ptr failure;
            try {
                answers = co_await self->put_(all);
            } catch (...) {
                failure = std::current_exception();
            }
            for (std::size_t i = 0; i != askers.size(); ++i) {
                askers[i]->failure = failure;
                if (!failure) askers[i]->answer = std::move(answers.at(i));
                askers[i]->told.cancel();
            }
        }
        --self->under_way_;
    }
    std::vector<std::shared_ptr<asker>> take() {
        const auto n = static_cast<std::ptrdiff_t>(std::min(keys_at_once_, waiting_.size()));
        std::vector<std::shared_ptr<asker>> some(waiting_.begin(), waiting_.begin() + n);
        waiting_.erase(waiting_.begin(), waiting_.begin() + n);
        return some;
    }

    asio::any_io_executor executor_;
    const std::size_t keys_at_once_;
    const int questions_;
    const question put_;
    std::deque<std::shared_ptr<asker>> waiting_;
    int under_way_ = 0;
};

} // namespace joblot::dask::engine
