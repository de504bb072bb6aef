/* Packs of telemetry windows: from payloads of version 1 and back. */
#ifndef FIELDLOOP_CODEC_H
#define FIELDLOOP_CODEC_H

#include "message.h"

#if defined(__GNUC__)
#define FL_PUBLIC __attribute__((visibility("default")))
#else
#define FL_PUBLIC
#endif

typedef struct {
    const uint8_t *bytes;
    size_t size;
} payload;

/* Takes each record as it is read; false: go no further. The window is its own only until it returns, and counts only
 * if all of the pack is well. `write_message` gives its payload. It must not use this pack again. */
typedef bool (*record_sink)(void *whose, const pack *p, const window *w);

/* Unpack a payload of version 2. NULL: done; else why not, and `p->c.is_beyond` tells whether Python can do it. */
const char *fl_unpack(pack *p, const uint8_t *bytes, size_t size, record_sink sink, void *whose);
/* Pack payloads of version 1, unpack them again and compare. The caller frees `*packed`. NULL: done; else why not. */
const char *fl_pack(pack *p, const payload *payloads, unsigned n, uint8_t **packed, size_t *size);

#endif
