// SPDX-License-Identifier: Apache-2.0
// Received IQ samples to a picture, without Python. Make the folder with `semdiff export --out FOLDER`, and this program with
//     cmake -B build/examples -DSEMDIFF_BUILD_EXAMPLES=ON -DSEMDIFF_BUILD_PYTHON=OFF && cmake --build build/examples
// It gives what the link's `receive` gives for the same numbers and key. main reads options and files; the receiver is in receiver.h.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <map>

#include "png.h"
#include "receiver.h"

namespace {

constexpr char kUsage[] =
    "usage: receive FOLDER SYMBOLS --noise-var X [options]\n"
    "  FOLDER          what semdiff export wrote\n"
    "  SYMBOLS         complex64 samples, one for each channel use (interleaved little-endian float32), of one picture or several\n"
    "  --noise-var X   E|n|^2 for symbols of unit power\n"
    "  --h FILE        complex64 gains, one for each picture or one for each symbol; 1 without\n"
    "  --rate N        symbol channels that were sent, one of the model's; its largest without\n"
    "  --steps N       of the sampler, 8\n"
    "  --realism R     0: the least error, 1: the most detail, or between; 1\n"
    "  --seed N        0; the same seed gives the same picture\n"
    "  --out FILE      PNG, the pictures under each other; received.png\n"
    "  --raw FILE      the same as float32, (pictures, channels, height, width)\n"
    "  --repeat N      receives N times, to see how long it takes; 1\n";

struct Options {
  std::string folder, symbols;
  std::map<std::string, std::string> values{{"--noise-var", ""}, {"--h", ""},     {"--rate", ""}, {"--steps", "8"},
                                            {"--realism", "1"},  {"--seed", "0"}, {"--raw", ""},  {"--out", "received.png"},
                                            {"--repeat", "1"}};

  // The value as a number in [least, most].
  template <class T>
  T number(const std::string& name, T least, T most) const {
    const std::string& text = values.at(name);
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || !(value >= least && value <= most)) {
      throw example::BadInput(name + ": expected a number from " + show(least) + " to " + show(most) + ", got '" + text + "'");
    }
    return value;
  }

 private:
  template <class T>
  static std::string show(T value) {
    char digits[32];
    return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
  }
};

Options read_options(const std::vector<std::string>& words) {
  Options options;
  std::vector<std::string> places;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("--")) {
      places.push_back(words[i]);
    } else if (!options.values.contains(words[i])) {
      throw example::BadInput(words[i] + ": no such option; receive --help lists them");
    } else if (i + 1 == words.size()) {
      throw example::BadInput(words[i] + ": expected a value after it");
    } else {
      options.values[words[i]] = words[i + 1];
      ++i;
    }
  }
  if (places.size() != 2) throw example::BadInput("expected FOLDER and SYMBOLS; receive --help tells more");
  options.folder = places[0];
  options.symbols = places[1];
  return options;
}

double milliseconds_since(std::chrono::steady_clock::time_point begun) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
}

// (B, C, H, W) in [0, 1] to rows of bytes, the pictures under each other.
void write_picture(const std::string& path, const at::Tensor& images) {
  const at::Tensor bytes = images.mul(255).round().to(at::kByte).permute({0, 2, 3, 1}).contiguous();
  const auto height = bytes.size(0) * bytes.size(1);
  example::write_atomically(path, example::png(bytes.const_data_ptr<std::uint8_t>(), height, bytes.size(2), bytes.size(3)));
}

int run(const std::vector<std::string>& words) {
  const auto begun = std::chrono::steady_clock::now();
  const Options options = read_options(words);
  const c10::InferenceMode no_gradients;
  const double noise_var = options.number("--noise-var", 1e-30, 1e30);
  const auto seed = options.number<std::uint64_t>("--seed", 0, ~std::uint64_t{0});
  const double realism = options.number("--realism", 0.0, 1.0);
  const int repeat = options.number("--repeat", 1, 1000000);
  example::Receiver receiver(options.folder);
  const auto steps = options.number<std::int64_t>("--steps", 1, receiver.about().alphas_cumprod.numel());
  const std::int64_t channels = options.values.at("--rate").empty() ? 0 : options.number<std::int64_t>("--rate", 1, 1 << 20);
  const example::Received received =
      example::read_symbols(receiver.about(), options.symbols, options.values.at("--h"), channels, noise_var);
  std::printf("ready in %.2f ms\n", milliseconds_since(begun));
  at::Tensor images;
  for (int i = 0; i < repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    images = receiver.receive(received, steps, realism, seed);
    std::printf("%lld pictures in %.3f ms\n", static_cast<long long>(images.size(0)), milliseconds_since(start));
  }
  write_picture(options.values.at("--out"), images);
  if (const std::string& raw = options.values.at("--raw"); !raw.empty()) {
    example::write_atomically(raw, {static_cast<const char*>(images.const_data_ptr()), images.nbytes()});
  }
  return 0;
}

// One line, whatever was thrown.
int refuse(std::string message, int code) {
  message.resize(std::min(message.find('\n'), message.size()));
  std::fprintf(stderr, "receive: %s\n", message.c_str());
  return code;
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  if (std::find(words.begin(), words.end(), "--help") != words.end()) return std::fputs(kUsage, stdout) < 0;
  try {
    return run(words);
  } catch (const example::BadInput& error) {
    return refuse(error.what(), 2);
  } catch (const c10::Error& error) {
    return refuse(error.what_without_backtrace(), 1);
  } catch (const std::exception& error) {
    return refuse(error.what(), 1);
  }
}
