/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The BPF programs of a look (kernel/peek.h): they copy bytes of the kernel's memory into a map, which the asker maps. */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

#define ROOM  4096 /* bytes in one look */
#define STEPS 8	   /* pointers followed in one look */

/* What the program is asked, and answers. */
struct question {
	uint64_t
		from; /* address; 0: that of who asks. Then `steps` times that of what a pointer, which lies so far from it, leads to; */
	uint64_t pointer
		[STEPS];  /* where it lies, and the answer: where it leads. From the last, `size` bytes are copied */
	uint64_t current; /* answer: the task_struct of who asks */
	uint64_t map;	  /* answer: the struct bpf_map of the program's map of one word for each processor, */
	uint64_t word;	  /* and where that processor has it: what tells how far apart they have such words */
	uint32_t size;
	uint32_t cpu;
	uint32_t steps;
	int32_t error; /* answer: of the reading */
};

#define MANY 128

/* What the program for many is asked: of each address in the room it makes what stands `offset` behind it. */
struct question_of_many {
	uint64_t offset;
	uint32_t size;
	int32_t error; /* answer: negative, if one cannot be read */
};

/* Maps with one value each, programs: a descriptor or a negative errno. */
int peek_map(enum bpf_map_type type, uint32_t value_size, uint32_t flags);
int peek_program(int room, int words);
int peek_program_of_many(int room);
/* The question is also the answer. */
int peek_run(int program_fd, void *question, size_t size);
