// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Palisade's kernel programs: one object, for kernel 6.1 and later.
 *
 *   abi.h         the contract with user space
 *   ktypes.h      what the programs know of the kernel's types
 *   maps.h        maps and counters; scratch.h: working memory
 *   path.h        object -> path; argv.h: the strings of an exec
 *   table.h       path -> decision; table_size.h: the part that exists once per table size
 *   label.h       task -> workload; fork.h: labels through the life of tasks
 *   socket.h      socket -> row of its class; key.h: network operation -> text; end.h: address -> end
 *   event.h       decision -> user space
 *   judge.h       one access from beginning to end
 *   cache.h       what is kept of directories: cache_key.h, cache_name.h, pass_size.h; open.h: opening files by it
 *   exec.h open.h file.h attr.h net.h unix.h capability.h: the hooks; of the built-in rules: self.h mount.h attach.h
 *
 * clang -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -c palisade.bpf.c
 */
#include "ktypes.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"

#include "maps.h"
#include "cache.h"
#include "scratch.h"
#include "path.h"
#include "argv.h"
#include "table.h"
#include "socket.h"
#include "key.h"
#include "end.h"
#include "label.h"
#include "event.h"
#include "judge.h"

#include "self.h"
#include "attr.h"
#include "mount.h"
#include "attach.h"
#include "fork.h"
#include "exec.h"
#include "open.h"
#include "file.h"
#include "net.h"
#include "unix.h"
#include "capability.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
