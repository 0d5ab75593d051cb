/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The seed's binary, inside the library. SEED_ELF is its path in the build directory. */
	.section .rodata.spore_seed, "a", @progbits
	.balign 16
	.globl spore_seed_start, spore_seed_end
	.hidden spore_seed_start, spore_seed_end
spore_seed_start:
	.incbin SEED_ELF
spore_seed_end:

	.section .note.GNU-stack, "", @progbits
