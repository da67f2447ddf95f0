#include "src/base/duration_text.h"

namespace penstock {

std::string duration_text(Duration duration) {
  if (duration < seconds(1)) return std::to_string(duration.ms()) + " ms";
  if (duration < seconds(60)) {
    return std::to_string(duration.s()) + "." + std::to_string(duration.ms() / 100 % 10) + " s";
  }
  const int64_t minutes = duration.s() / 60;
  if (minutes < 60) return std::to_string(minutes) + " min " + std::to_string(duration.s() % 60) + " s";
  if (minutes < 48 * 60) return std::to_string(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
  return std::to_string(minutes / (24 * 60)) + " days";
}

}  // namespace penstock
