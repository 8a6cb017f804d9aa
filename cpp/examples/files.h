// SPDX-License-Identifier: Apache-2.0
// Files that are there whole or not at all, and what is said where they are not.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

namespace example {

// What the user can mend: an option, a file.
struct BadInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The same path, if a file is there that can be read. (A folder opens, but does not read.)
inline const std::string& present(const std::string& path) {
  if (std::filesystem::is_directory(path) || !std::ifstream(path)) throw BadInput(path + ": expected a file that can be read");
  return path;
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(present(path), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Written beside its place and renamed, so readers see the old file or the new one.
inline void write_atomically(const std::string& path, std::string_view content) {
  const std::string beside = path + "." + std::to_string(getpid()) + ".part";
  std::ofstream file(beside, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(beside, path, error);
  if (!file || error) {
    std::filesystem::remove(beside, error);
    throw std::runtime_error(path + ": it cannot be written");
  }
}

}  // namespace example
