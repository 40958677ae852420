#pragma once

namespace pyw::launcher {

/// `py_launcher --kill PID START_TIME`: ends a launcher, its worker and all their descendants, from outside.
/// Promise: a process that has inherited a recycled pid is never hit. Returns 0 when they are gone or were not there, 1 with a line on
/// stderr when they could not be ended, 2 when the arguments are no numbers. Takes at most about five seconds. Needs Linux 5.3.
int kill_launcher(const char* pid, const char* start_time);

}  // namespace pyw::launcher
