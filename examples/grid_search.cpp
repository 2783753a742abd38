// SPDX-License-Identifier: BSL-1.0
// A cross-validated grid search on data that Python has put on a Dask cluster: kernel ridge regression, with Eigen, for
// every pair of parameters and every fold. Each task reads the data on the worker where it runs, and leaves its scores
// there. python_and_cpp.py prepares the data, calls this program, and goes on with the scores.
#include "cli.hpp"

#include <joblot/dask.hpp>
#include <joblot/joblot.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Core>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iostream>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

using Eigen::Index, Eigen::MatrixXd, Eigen::VectorXd;
using joblot::delayed, joblot::Parallel;
namespace views = std::views;

using blocks = std::vector<joblot::dask::chunk<const double>>;

struct parameters {
    double alpha; // how much large weights cost
    double gamma; // how fast the influence of a sample ends
};

/// A block as Eigen sees it, where it lies, in whichever order Python has it.
auto mapped(const joblot::dask::chunk<const double>& block) {
    using strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    const auto at = [](const std::vector<std::size_t>& sizes, std::size_t axis) {
        return axis < sizes.size() ? static_cast<Index>(sizes[axis]) : Index{1}; // a vector is a matrix of one column
    };
    const auto steps = block.strides();
    return Eigen::Map<const MatrixXd, Eigen::Unaligned, strides>(
        block.data(), at(block.shape(), 0), at(block.shape(), 1), strides(at(steps, 1), at(steps, 0)));
}

/// The chunks of a dataset that Python has published: each must have whole rows.
blocks rows_of(const joblot::dask::Client& client, const std::string& name) {
    const joblot::dask::dataset data = client.dataset(name);
    if (data.blocks().size() > 2 || (data.blocks().size() == 2 && data.blocks()[1] != 1))
        throw std::runtime_error("the chunks of \"" + name + "\" are not whole rows; in Python: rechunk({1: -1})");
    return data.chunks<double>();
}

/// All rows in one matrix, as the algebra needs them: the one copy that is made of the data.
MatrixXd joined(const blocks& parts) {
    Index rows = 0;
    for (const auto& part : parts) rows += mapped(part).rows();
    MatrixXd all(rows, mapped(parts.front()).cols());
    for (Index row = 0; const auto& part : parts) {
        const auto block = mapped(part);
        all.middleRows(row, block.rows()) = block;
        row += block.rows();
    }
    return all;
}

/// exp(-gamma |a - b|^2) for all pairs of rows.
MatrixXd kernel_of(const MatrixXd& x, double gamma) {
    const VectorXd squares = x.rowwise().squaredNorm();
    MatrixXd distances = -2 * x * x.transpose();
    distances.colwise() += squares;
    distances.rowwise() += squares.transpose();
    return (-gamma * distances.array().max(0)).exp();
}

/// A fold's samples, and all others, as scikit-learn's KFold has them.
struct split {
    split(int fold, int folds, Index rows) : train(static_cast<std::size_t>(rows)) {
        const auto begin = [&](int k) { return k * (rows / folds) + std::min<Index>(k, rows % folds); };
        std::iota(train.begin(), train.end(), 0);
        const auto first = train.begin() + begin(fold), last = train.begin() + begin(fold + 1);
        test.assign(first, last);
        train.erase(first, last);
    }
    std::vector<Index> train, test;
};

/// Kernel ridge regression, fitted for each fold on all other rows: its coefficient of determination, R^2, on that
/// fold.
std::vector<double> ridge_scores(const blocks& x_blocks, const blocks& y_blocks, const parameters& p, int folds) {
    const MatrixXd x = joined(x_blocks);
    const VectorXd y = joined(y_blocks);
    if (x.rows() != y.size() || x.rows() < folds)
        throw std::runtime_error(std::to_string(x.rows()) + " samples with " + std::to_string(y.size()) +
                                 " values cannot be cut into " + std::to_string(folds) + " folds");
    const MatrixXd kernel = kernel_of(x, p.gamma);
    std::vector<double> scores;
    for (int fold = 0; fold != folds; ++fold) {
        const auto [train, test] = split(fold, folds, x.rows());
        MatrixXd system = kernel(train, train);
        system.diagonal().array() += p.alpha;
        const VectorXd weights = system.llt().solve(y(train));
        const VectorXd errors = y(test) - kernel(test, train) * weights;
        scores.push_back(1 - errors.squaredNorm() / (y(test).array() - y(test).mean()).matrix().squaredNorm());
    }
    return scores;
}

/// The positive numbers of a list like "0.1,1,10".
std::vector<double> numbers_in(const std::string& option, const std::string& list) {
    std::vector<double> numbers;
    for (const auto& word : views::split(list, ',')) {
        const std::string_view text(word.begin(), word.end());
        double number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc{} || end != text.data() + text.size() || !(number > 0))
            throw cli::usage_error(option + ": '" + std::string(text) + "' is not a positive number");
        numbers.push_back(number);
    }
    return numbers;
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    std::string scheduler, x_name = "X", y_name = "y", scores_name = "scores";
    std::string alphas = "0.01,0.1,1,10", gammas = "0.001,0.01,0.1";
    int folds = 5;
    cli::command_line cli("Cross-validates kernel ridge regression on data that Python has published with Dask.",
                          cli::options::own);
    cli.argument("SCHEDULER", scheduler, "the cluster, like tcp://127.0.0.1:8786");
    cli.option("--x", "NAME", x_name, "dataset with a row for each sample");
    cli.option("--y", "NAME", y_name, "dataset with the value of each");
    cli.option("--scores", "NAME", scores_name, "dataset that is made, of arrays with a score for each fold");
    cli.option("--alphas", "LIST", alphas, "penalties");
    cli.option("--gammas", "LIST", gammas, "kernels");
    cli.option("--folds", "N", folds, "how often each fit is made, without a part of the samples", 2);
    return cli.run(argc, argv, [&] {
        std::vector<parameters> grid;
        const std::vector<double> all_gammas = numbers_in("--gammas", gammas);
        for (const double alpha : numbers_in("--alphas", alphas))
            for (const double gamma : all_gammas) grid.push_back({alpha, gamma});

        const joblot::dask::Client client(scheduler);
        const joblot::dask::backend cluster{.client = &client};
        const blocks x = rows_of(client, x_name), y = rows_of(client, y_name);

        // The scores stay on the cluster: for each pair of parameters an array with a number for each fold.
        const auto scores = Parallel({.backend = cluster, .progress = joblot::progress_bar(), .label = "pairs"})
                                .persist(grid | views::transform([&](const parameters& p) {
                                             return delayed(ridge_scores)(x, y, p, folds);
                                         }));
        client.publish_dataset(scores_name, scores);
        std::cout << "the scores of " << grid.size() << " pairs of parameters are published as \"" << scores_name
                  << "\"\n";
    });
}
