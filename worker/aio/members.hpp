#pragma once

// T_PYSSIZET and its like, whose header wants Python.h to have been there before.
#include "python/compat.hpp"

#include <structmember.h>
