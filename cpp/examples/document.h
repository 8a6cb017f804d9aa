// SPDX-License-Identifier: Apache-2.0
// The document that semdiff export writes, an object of texts, numbers and lists of numbers: no parser of JSON at large.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "files.h"

namespace example {

class Document {
 public:
  explicit Document(const std::string& path) : Document(path, read_file(path)) {}
  Document(std::string path, std::string text) : path_(std::move(path)), text_(std::move(text)) {}

  std::string word(const std::string& name) const {
    const std::size_t begin = after(name), end = begin < text_.size() ? text_.find('"', begin + 1) : std::string::npos;
    if (end == std::string::npos || text_[begin] != '"') throw BadInput(path_ + ": expected a text for " + name);
    return text_.substr(begin + 1, end - begin - 1);
  }

  std::vector<double> numbers(const std::string& name) const {
    std::vector<double> found;
    const char *at = text_.data() + after(name), *end = text_.data() + text_.size();
    const bool list = at < end && *at == '[';
    do {
      if (at < end && (*at == '[' || *at == ',')) ++at;
      while (at < end && *at == ' ') ++at;
      const auto [next, error] = std::from_chars(at, end, found.emplace_back());
      if (error != std::errc{} || !std::isfinite(found.back())) throw BadInput(path_ + ": expected numbers for " + name + ", finite ones");
      at = next;
    } while (list && at < end && *at == ',');
    if (list && (at == end || *at != ']')) throw BadInput(path_ + ": expected a list that ends, for " + name);
    return found;
  }

  std::vector<std::int64_t> integers(const std::string& name) const {
    std::vector<std::int64_t> found;
    for (const double number : numbers(name)) {
      if (!(std::abs(number) < 1e15) || number != std::floor(number)) throw BadInput(path_ + ": expected whole numbers for " + name);
      found.push_back(static_cast<std::int64_t>(number));
    }
    return found;
  }

 private:
  std::size_t after(const std::string& name) const {
    const std::string key = '"' + name + "\": ";
    const std::size_t place = text_.find(key);
    if (place == std::string::npos) throw BadInput(path_ + ": expected what semdiff export writes, and there is no " + name);
    return place + key.size();
  }

  std::string path_, text_;
};

}  // namespace example
