/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The instruction of a static branch, as the kernel's headers have it for each
 * architecture, for asm! in Rust. static_branch_unlikely! of the kernel crate
 * takes it from a file that only the kernel's own build makes, and that header
 * packages lack.
 */
#include <linux/jump_label.h>
// Cut here.
#ifdef CONFIG_JUMP_LABEL
macro_rules! arch_static_branch_asm {
    () => {
        ::kernel::concat_literals!(ARCH_STATIC_BRANCH_ASM("{symb} + {off}", "{l_yes}"))
    };
}
#endif
