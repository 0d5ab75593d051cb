/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ids of objects, by their kernel identity. */
#pragma once

#include <stdbool.h>

#include "image/field.h"

struct identities;

struct identities *identities_new(void);
void identities_free(struct identities *ids); /* takes NULL */
/* A fresh id for an object that nobody else will ask for. */
object_id identity_fresh(struct identities *ids);
