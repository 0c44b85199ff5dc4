// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters of the module that are text, which Rust's module! cannot declare.
 */
#include <linux/moduleparam.h>

#include "helpers.h"

char *oxnic_personality;
module_param_named(personality, oxnic_personality, charp, 0);
MODULE_PARM_DESC(personality, "Personality of new ports: see Documentation/cards.md (default none)");
