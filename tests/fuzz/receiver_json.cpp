// SPDX-License-Identifier: Apache-2.0
// The reader of receiver.json under libFuzzer: every field of any bytes is read, or refused by BadInput. tools/fuzz_cpp.sh builds and runs
// it.
#include "document.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const example::Document document("receiver.json", std::string(reinterpret_cast<const char*>(data), size));
  const auto attempt = [](auto read) {
    try {
      read();
    } catch (const example::BadInput&) {
    }
  };
  for (const char* name : {"link", "prediction", "torch", "cpu"}) attempt([&] { document.word(name); });
  for (const char* name : {"image_shape", "symbol_shape", "rates", "batch"}) attempt([&] { document.integers(name); });
  for (const char* name : {"renoise", "pixel_mean", "pixel_std", "noise_var_range", "alphas_cumprod"}) {
    attempt([&] { document.numbers(name); });
  }
  return 0;
}
