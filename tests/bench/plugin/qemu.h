/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What profile.c uses of the interface between QEMU and its plugins, in version 4 (QEMU 9.2 and
 * newer). Debian's QEMU can load plugins, but no package has the header that declares this.
 */
#ifndef BENCH_QEMU_H
#define BENCH_QEMU_H

#include <stddef.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;

enum { QEMU_CB_NO_REGS = 0 };

typedef void (*tb_trans_cb)(unsigned long id, struct qemu_plugin_tb *tb);
typedef void (*udata_cb)(unsigned int vcpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(unsigned long id, tb_trans_cb cb);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, udata_cb cb, int flags,
					    void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, udata_cb cb, int flags,
					  void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
unsigned long qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest, size_t len);

#endif
