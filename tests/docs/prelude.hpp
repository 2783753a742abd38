// SPDX-License-Identifier: BSL-1.0
// What the snippets in README.md and docs/ take for granted: joblot, some of the standard library, and a few functions
// that stand for the reader's own. Only declared: snippets are compiled, never linked. See extract.py.
#pragma once

#include <joblot/joblot.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <ranges>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace joblot;
using namespace std::chrono_literals;
namespace views = std::views;
namespace fs = std::filesystem;

double simulate(int seed);                    // some expensive function of a number
int square(int x);                            // a cheap one
void work(int item);                          // one for its effect
std::string download(const std::string& url); // one that may throw
std::uint32_t checksum(const fs::path& file); // one of a file
std::vector<fs::path> files_below(const fs::path& folder);

extern std::vector<int> numbers;   // some input
extern std::vector<double> values; // some more
extern std::vector<std::string> urls;
extern std::vector<fs::path> files;
