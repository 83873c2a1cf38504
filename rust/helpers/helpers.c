// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers for the Rust code, see helpers.h. Sorted alphabetically.
 */

#include "helpers.h"

#include "completion.c"
#include "net/netdevice.c"
#include "net/page_pool.c"
#include "net/skbuff.c"
#include "net/xdp.c"
