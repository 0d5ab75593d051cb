/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/compress.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

#define LEAST_SAVED 16 /* one part in so many; else it takes time to read and saves nothing */

static const char *const names[] = { [SPORE_COMPRESSION_ZSTD] = "zstd" };

const char *compression_name(uint32_t compression)
{
	return compression < ARRAY_SIZE(names) ? names[compression] : NULL;
}

int compression_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i] && !strcmp(names[i], name))
			return (int)i;
	return -EBADMSG;
}

#ifdef HAVE_ZSTD
#include <zstd.h>

#define LEVEL 1

bool compression_is_there(uint32_t compression)
{
	return compression == SPORE_COMPRESSION_ZSTD;
}

struct compressor *compressor_new(void)
{
	return (struct compressor *)ZSTD_createCCtx();
}

void compressor_free(struct compressor *c)
{
	ZSTD_freeCCtx((ZSTD_CCtx *)c);
}

size_t compress(struct compressor *c, const void *from, size_t size, void *to)
{
	size_t n = ZSTD_compressCCtx((ZSTD_CCtx *)c, to, size - size / LEAST_SAVED, from, size, LEVEL);

	return ZSTD_isError(n) ? 0 : n; /* the room was not enough */
}

static void *context_new(void)
{
	return ZSTD_createDCtx();
}

static void context_free(void *context)
{
	ZSTD_freeDCtx(context);
}

/* Of all that the library reads (legacy formats, frames one after the other) only what compress() makes: one frame, which says how long it is. */
static int run(void *context, const void *from, size_t compressed, void *to, size_t size)
{
	static const uint8_t magic[] = { 0x28, 0xb5, 0x2f, 0xfd };

	if (compressed < sizeof(magic) || memcmp(from, magic, sizeof(magic)) ||
		ZSTD_findFrameCompressedSize(from, compressed) != compressed ||
		ZSTD_getFrameContentSize(from, compressed) != size)
		return -EBADMSG;
	return ZSTD_decompressDCtx(context, to, size, from, compressed) == size ? 0 : -EBADMSG;
}

#else /* nothing is compressed, and image_open lets nothing through that is */

bool compression_is_there(uint32_t compression)
{
	return false;
}

struct compressor *compressor_new(void)
{
	return NULL;
}

void compressor_free(struct compressor *c)
{
}

size_t compress(struct compressor *c, const void *from, size_t size, void *to)
{
	return 0;
}

static void *context_new(void)
{
	return NULL;
}

static void context_free(void *context)
{
}

static int run(void *context, const void *from, size_t compressed, void *to, size_t size)
{
	return -EBADMSG;
}

#endif

/* --- those not in use --- */

struct decompressor {
	struct decompressor *next;
	void *context, *room;
	size_t size; /* of the room */
};

struct decompressors {
	pthread_mutex_t lock;
	struct decompressor *idle;
};

struct decompressors *decompressors_new(void)
{
	struct decompressors *all = calloc(1, sizeof(*all));

	if (all)
		pthread_mutex_init(&all->lock, NULL);
	return all;
}

static void decompressor_free(struct decompressor *d)
{
	if (d->context)
		context_free(d->context);
	free(d->room);
	free(d);
}

void decompressors_free(struct decompressors *all)
{
	struct decompressor *next;

	for (struct decompressor *d = all ? all->idle : NULL; d; d = next) {
		next = d->next;
		decompressor_free(d);
	}
	if (all)
		pthread_mutex_destroy(&all->lock);
	free(all);
}

static struct decompressor *take_idle(struct decompressors *all)
{
	struct decompressor *d;

	pthread_mutex_lock(&all->lock);
	d = all->idle;
	if (d)
		all->idle = d->next;
	pthread_mutex_unlock(&all->lock);
	return d;
}

static int make_room(struct decompressor *d, size_t room)
{
	if (room > d->size) {
		void *grown = realloc(d->room, room);

		if (!grown)
			return -ENOMEM;
		d->room = grown;
		d->size = room;
	}
	if (!d->context)
		d->context = context_new();
	return d->context ? 0 : -ENOMEM;
}

struct decompressor *decompressor_take(struct decompressors *all, size_t room)
{
	struct decompressor *d = take_idle(all);

	if (!d)
		d = calloc(1, sizeof(*d));
	if (d && make_room(d, room) < 0) {
		decompressor_free(d);
		return NULL;
	}
	return d;
}

void *decompressor_room(struct decompressor *d)
{
	return d->room;
}

int decompress(struct decompressor *d, size_t compressed, void *to, size_t size)
{
	return run(d->context, d->room, compressed, to, size);
}

void decompressor_give(struct decompressors *all, struct decompressor *d)
{
	pthread_mutex_lock(&all->lock);
	d->next = all->idle;
	all->idle = d;
	pthread_mutex_unlock(&all->lock);
}
