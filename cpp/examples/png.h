// SPDX-License-Identifier: Apache-2.0
// PNG (ISO/IEC 15948) with stored, that is uncompressed, blocks: all that a small picture needs, and no library.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace example {

// The last bytes of a number, most significant first.
inline std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

// Length, type, data, and the CRC-32 of type and data.
inline std::string chunk(const std::string& type, std::string_view data) {
  const std::string body = type + std::string(data);
  std::uint32_t crc = ~0U;
  for (const char c : body) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320U : 0U);
  }
  return big_endian(static_cast<std::uint32_t>(data.size())) + body + big_endian(~crc);
}

// A zlib stream (RFC 1950) of stored blocks (RFC 1951, 3.2.4).
inline std::string stored(std::string_view data) {
  std::string stream = "\x78\x01";
  std::uint32_t a = 1, b = 0;  // Adler-32
  for (const char c : data) {
    a = (a + static_cast<std::uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  for (bool last = false; !last;) {
    const std::string_view block = data.substr(0, 65535);
    data.remove_prefix(block.size());
    last = data.empty();
    const auto n = static_cast<std::uint16_t>(block.size()), complement = static_cast<std::uint16_t>(~n);
    for (const int byte : {int{last}, n & 255, n >> 8, complement & 255, complement >> 8}) stream += static_cast<char>(byte);
    stream += block;
  }
  return stream + big_endian(b << 16 | a);
}

// The file's bytes. pixels: (height, width, channels), 8 bits each; channels 1 is grey, 3 is RGB.
inline std::string png(const std::uint8_t* pixels, std::int64_t height, std::int64_t width, std::int64_t channels) {
  const auto row = static_cast<std::size_t>(width * channels);
  std::string rows;
  for (std::int64_t y = 0; y < height; ++y) {
    rows += '\0';  // no filter
    rows.append(reinterpret_cast<const char*>(pixels) + static_cast<std::size_t>(y) * row, row);
  }
  const std::string kind = {8, static_cast<char>(channels == 3 ? 2 : 0), 0, 0, 0};
  const std::string header = big_endian(static_cast<std::uint32_t>(width)) + big_endian(static_cast<std::uint32_t>(height)) + kind;
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", stored(rows)) + chunk("IEND", "");
}

}  // namespace example
