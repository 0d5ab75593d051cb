/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "maker.h"

/* GROUP/NAME READYFILE GOFILE LOG: runs the maker that find knows by that name; the exit status of its program. */
int maker_life(int argc, char **argv, const struct maker *(*find)(const char *name));
