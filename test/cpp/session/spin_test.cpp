#include "loop/spin.hpp"

#include <doctest/doctest.h>

using pyw::loop::SpinPolicy;

TEST_CASE("spinning: an idle worker does not begin with it") {
  CHECK_FALSE(SpinPolicy(50'000).worth_it());
}

TEST_CASE("spinning: two near frames switch it on, two far ones off") {
  SpinPolicy policy(50'000);
  policy.frame_after(40'000);
  policy.frame_after(40'000);
  CHECK(policy.worth_it());
  policy.frame_after(1'000'000'000);
  policy.frame_after(1'000'000'000);
  CHECK_FALSE(policy.worth_it());
}

TEST_CASE("spinning: never with a limit of zero") {
  SpinPolicy policy(0);
  for (int i = 0; i < 10; ++i) policy.frame_after(0);
  CHECK_FALSE(policy.worth_it());
}

TEST_CASE("spinning: whoever says that the next one is far ends it at once") {
  SpinPolicy policy(50'000);
  policy.frame_after(1'000);
  policy.frame_after(1'000);
  REQUIRE(policy.worth_it());
  policy.not_near();
  CHECK_FALSE(policy.worth_it());
}
